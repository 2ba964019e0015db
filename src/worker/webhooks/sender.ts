import type { LookupFunction } from "node:net";
import type { Readable } from "node:stream";
import { Client } from "undici";
import { ConnectorError } from "../../connectors/connector.js";
import type { Address, OutboundPolicy } from "../../connectors/outbound.js";
import type { Try } from "../../domain/webhooks/outbox.js";

export interface Message {
  readonly url: string;
  /** Of Standard Webhooks. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What a receiver answered, or why it could not be asked. */
export type Answer = Omit<Try, "startedAt" | "durationMs">;

/** Bytes of an answer that are read, how long that may take, and characters that are kept. */
const READ_BYTES = 8_192;
const READ_MS = 1_000;
const KEPT_CHARACTERS = 1_000;
const MAX_HEADER_BYTES = 16_384;
/** However long a receiver asks to be left alone. */
const LONGEST_PAUSE_MS = 24 * 3_600_000;

export interface SenderOptions {
  readonly outbound: OutboundPolicy;
  /** From the look-up of the name to the status of the answer. */
  readonly timeoutMs: number;
}

/**
 * Sends messages to receivers. Each try resolves the name anew, checks every address, and connects to the address
 * that was checked; redirects are not followed, as Standard Webhooks recommends, so nothing leads elsewhere.
 */
export class Sender {
  readonly #options: SenderOptions;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Never rejects, unless `signal` is aborted before there is a status: then with its reason. */
  async send(message: Message, signal: AbortSignal): Promise<Answer> {
    const { timeoutMs } = this.#options;
    const timeout = AbortSignal.timeout(timeoutMs);
    try {
      return await this.#ask(message, AbortSignal.any([signal, timeout]));
    } catch (error) {
      signal.throwIfAborted();
      return failure(timeout.aborted ? `no answer within ${timeoutMs / 1_000} s` : reasonOf(error));
    }
  }

  async #ask({ url, headers, body }: Message, signal: AbortSignal): Promise<Answer> {
    const { origin, hostname, port, protocol, pathname, search } = new URL(url);
    const number = port === "" ? (protocol === "https:" ? 443 : 80) : Number(port);
    const address = await unlessAborted(this.#options.outbound.resolve(hostname, number), signal);
    const client = new Client(origin, {
      connect: { lookup: always(address), timeout: this.#options.timeoutMs },
      maxHeaderSize: MAX_HEADER_BYTES,
    });
    try {
      const answer = await client.request({
        method: "POST",
        path: pathname + search,
        headers: { ...headers, "content-type": "application/json", "user-agent": "Gatehouse" },
        body,
        signal,
      });
      const response = await excerpt(answer.body);
      return judge(answer.statusCode, answer.headers["retry-after"], response);
    } finally {
      // With the connection, and with what was not read of the answer.
      void client.destroy().catch(() => {});
    }
  }
}

function judge(statusCode: number, retryAfter: string | string[] | undefined, response: string): Answer {
  const isGood = statusCode >= 200 && statusCode < 300;
  const isRedirect = statusCode >= 300 && statusCode < 400;
  const hint = isRedirect ? ": redirects are not followed, change the webhook's url" : "";
  return {
    statusCode,
    response,
    error: isGood ? null : `answered ${statusCode}${hint}`,
    gone: statusCode === 410,
    retryAfterMs: isGood ? 0 : pauseOf(retryAfter),
  };
}

function failure(error: string): Answer {
  return { statusCode: null, response: null, error, gone: false, retryAfterMs: 0 };
}

/** RFC 9110 section 10.2.3: seconds, or a date. */
function pauseOf(header: string | string[] | undefined): number {
  const text = String(header ?? "").trim();
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), LONGEST_PAUSE_MS) : 0;
}

/** For connections: the address that was checked, whatever the name resolves to by now. */
function always({ address, family }: Address): LookupFunction {
  return (_hostname, options, callback) => {
    if (options.all === true) callback(null, [{ address, family }]);
    else callback(null, address, family);
  };
}

/**
 * The beginning of a body, as text that PostgreSQL takes. The receiver has said by its status whether it has the message:
 * a body that is cut short, or has no end, changes nothing of that.
 */
async function excerpt(body: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  const timer = setTimeout(() => body.destroy(), READ_MS);
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= READ_BYTES) break;
    }
  } catch {
    // What was read until then is kept.
  } finally {
    clearTimeout(timer);
  }
  const text = Buffer.concat(chunks).subarray(0, READ_BYTES).toString("utf8").replaceAll("\0", "\ufffd");
  return [...text].slice(0, KEPT_CHARACTERS).join("");
}

/** For work that heeds no signal. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** What is said of faults of connections. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection broke",
  EPIPE: "the connection broke",
  UND_ERR_SOCKET: "the connection broke",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
  UND_ERR_CONNECT_TIMEOUT: "the host did not answer",
  UND_ERR_HEADERS_OVERFLOW: "the headers of the answer were too large",
};

function reasonOf(error: unknown): string {
  // Made for users: which address is refused, and what the operator can do.
  if (error instanceof ConnectorError) return error.message;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code.startsWith("HPE_")) return "the answer was no HTTP";
  return REASONS[code] ?? `it could not be sent${code === "" ? "" : ` (${code})`}`;
}
