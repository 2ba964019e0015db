import { Agent, type IncomingHttpHeaders, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { Counts, Findings } from "./findings.js";
import type { Random } from "./random.js";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

/** One request, as a client means it: it may have to be sent several times. */
export interface Wish {
  /** For reports: `sync`, for instance. */
  readonly name: string;
  readonly method: "GET" | "POST" | "PUT";
  readonly path: string;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as Idempotency-Key; a request that changes something has one. */
  readonly key?: string;
}

/** One connection to a stream of events. */
export interface Listening {
  readonly path: string;
  readonly lastEventId: string | null;
  readonly patienceMs: number;
}

/** A server-sent event. */
export interface ServerEvent {
  readonly id: string;
  readonly data: unknown;
}

const ANSWER_LIMIT_MS = 15_000;
const MAX_PAUSE_MS = 2_000;

/**
 * A machine client as it should be: what gets no answer, a 503, or a 409 with `Retry-After` is sent again under the
 * same key, to any of the api processes, until it is answered.
 */
export class ApiClient {
  readonly #ports: readonly number[];
  readonly #findings: Findings;
  readonly #counts: Counts;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  readonly #credentials: object;
  #token: string | null = null;
  #closed = false;

  constructor(ports: readonly number[], credentials: object, findings: Findings, counts: Counts) {
    this.#ports = ports;
    this.#credentials = credentials;
    this.#findings = findings;
    this.#counts = counts;
  }

  /**
   * The answer that counts: anything but "try again". Null where the client was closed before there was one.
   * @param impatient the chance that the client breaks the connection before it has the answer, each time
   */
  async send(wish: Wish, random: Random, impatient = 0): Promise<Answer | null> {
    for (let tries = 1; !this.#closed; tries += 1) {
      const patienceMs = random.chance(impatient) ? random.int(2, 400) : ANSWER_LIMIT_MS;
      const answer = await this.#try(wish, random.pick(this.#ports), patienceMs);
      if (answer !== null && this.#isFinal(wish, answer)) return answer;
      const asked = Number(answer?.headers["retry-after"] ?? 0) * 1_000;
      const pause = asked > 0 ? asked : random.int(20, 100) * 2 ** Math.min(tries, 5);
      await delay(Math.min(MAX_PAUSE_MS, pause));
    }
    return null;
  }

  /**
   * Listens to a stream of events, once, until it ends or breaks, or patience does.
   * @param lastEventId of the last event that was seen; null: none was
   * @returns the answer's status; null: there was none, or "try again"
   */
  async listen(
    { path, lastEventId, patienceMs }: Listening,
    random: Random,
    onEvent: (event: ServerEvent) => void,
  ): Promise<number | null> {
    const headers = {
      authorization: `Bearer ${this.#token}`,
      ...(lastEventId === null ? {} : { "last-event-id": lastEventId }),
    };
    const port = random.pick(this.#ports);
    const answer = await new Promise<Answer | null>((resolve) => {
      const outgoing = request({ agent: this.#agent, host: "127.0.0.1", port, path, headers }, (incoming) => {
        let text = "";
        incoming.setEncoding("utf8").on("data", (part: string) => {
          const events = (text + part).split("\n\n");
          text = events.pop() ?? "";
          for (const event of events.flatMap(toEvent)) onEvent(event);
        });
        // However it ends: what was heard was heard.
        incoming.on("error", () => {});
        incoming.on("close", () => {
          const { statusCode: status = 0, headers } = incoming;
          resolve({ status, headers, body: text });
        });
      });
      const timer = setTimeout(() => outgoing.destroy(), patienceMs);
      outgoing.on("error", () => resolve(null));
      outgoing.on("close", () => clearTimeout(timer));
      outgoing.end();
    });
    this.#counts.add(`listen: ${answer?.status ?? "no answer"}`);
    return answer !== null && this.#isFinal({ method: "GET", path }, answer) ? answer.status : null;
  }

  /** A new token, as clients fetch one from time to time; used by all requests from then on. */
  async renewToken(random: Random): Promise<void> {
    const body = { grant_type: "client_credentials", ...this.#credentials };
    const answer = await this.send({ name: "token", method: "POST", path: TOKEN_PATH, body }, random);
    if (answer === null) return;
    const { access_token: token } = answer.body as { access_token?: string };
    if (token !== undefined) this.#token = token;
    else this.#findings.add(`no token: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /** Nothing is sent again any more. */
  close(): void {
    this.#closed = true;
    this.#agent.destroy();
  }

  async #try(wish: Wish, port: number, patienceMs: number): Promise<Answer | null> {
    const token = wish.path === TOKEN_PATH ? null : this.#token;
    try {
      const answer = await this.#exchange(wish, port, token, patienceMs);
      this.#counts.add(`${wish.name}: ${answer.status}${replayed(answer) ? " replayed" : ""}`);
      return answer;
    } catch {
      this.#counts.add(`${wish.name}: no answer`);
      return null;
    }
  }

  #isFinal({ method, path }: Pick<Wish, "method" | "path">, { status, headers, body }: Answer): boolean {
    const retryAfter = headers["retry-after"];
    if (status === 503 && retryAfter !== undefined) return false;
    if (status === 409 && retryAfter !== undefined) return false;
    if (status < 500) return true;
    this.#findings.add(`${method} ${path}: ${status}, Retry-After ${retryAfter}: ${JSON.stringify(body)}`);
    return false;
  }

  #exchange(wish: Wish, port: number, token: string | null, patienceMs: number): Promise<Answer> {
    const payload = wish.body === undefined ? undefined : JSON.stringify(wish.body);
    const headers = {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(payload === undefined
        ? {}
        : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) }),
      ...(wish.key === undefined ? {} : { "idempotency-key": wish.key }),
      ...wish.headers,
    };
    const { method, path } = wish;
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { agent: this.#agent, host: "127.0.0.1", port, method, path, headers },
        (incoming) => {
          const chunks: Buffer[] = [];
          incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
          incoming.on("error", reject);
          incoming.on("close", () => reject(new Error("the answer was cut off")));
          incoming.on("end", () => {
            if (!incoming.complete) return;
            const text = Buffer.concat(chunks).toString();
            resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: parsed(text) });
          });
        },
      );
      const timer = setTimeout(() => outgoing.destroy(new Error("no answer in time")), patienceMs);
      outgoing.on("close", () => clearTimeout(timer));
      outgoing.on("error", reject);
      outgoing.end(payload);
    });
  }
}

const TOKEN_PATH = "/oauth/token";

export function replayed({ headers }: Answer): boolean {
  return headers["idempotent-replayed"] === "true";
}

/** Comments, which keep a connection alive, are no events. */
function toEvent(text: string): ServerEvent[] {
  const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, "m").exec(text)?.[1];
  const [id, data] = [field("id"), field("data")];
  return id === undefined || data === undefined ? [] : [{ id, data: JSON.parse(data) }];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
