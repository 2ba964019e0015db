import { messageOf } from "../../platform/errors.js";
import { curlOf, type DemoRequest, Secret } from "./curl.js";
import type { Screen } from "./screen.js";

/** An end of the demo with a message for people. */
export class DemoError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "DemoError";
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

export interface CallOptions {
  readonly body?: unknown;
  readonly form?: DemoRequest["form"];
  /** Statuses besides 2xx that the caller deals with. */
  readonly expect?: readonly number[];
  /** Prints nothing: for what is asked over and over. */
  readonly quiet?: boolean;
}

const TIMEOUT_MS = 30_000;
const SHOWN_HEADERS = ["operation-location", "retry-after"];

/** Calls Gatehouse and shows each request and its answer. */
export class Api {
  readonly baseUrl: string;
  readonly #screen: Screen;
  #token: string | undefined;

  constructor(baseUrl: string, screen: Screen) {
    this.baseUrl = baseUrl;
    this.#screen = screen;
  }

  /** What every further request is sent with. */
  set token(token: string) {
    this.#token = token;
  }

  /** Throws a DemoError where the server is away, or answers what was not expected. */
  async call(method: DemoRequest["method"], path: string, options: CallOptions = {}): Promise<Answer> {
    const { body, form, expect = [], quiet = false } = options;
    const request: DemoRequest = {
      method,
      url: this.baseUrl + path,
      ...(body === undefined ? {} : { body }),
      ...(form === undefined ? {} : { form }),
      ...(this.#token === undefined ? {} : { token: this.#token }),
    };
    if (!quiet) this.#screen.command(curlOf(request));
    const answer = await this.#send(request);
    if (!quiet) this.show(answer);
    if (answer.status >= 300 && !expect.includes(answer.status)) throw unexpected(request, answer);
    return answer;
  }

  show({ status, headers, body }: Answer): void {
    const shown = SHOWN_HEADERS.flatMap((name) => {
      const value = headers.get(name);
      return value === null ? [] : [`${name}: ${value}`];
    });
    this.#screen.answer(String(status), shown, maskToken(body));
  }

  async #send({ method, url, body, form, token }: DemoRequest): Promise<Answer> {
    const headers = new Headers(token === undefined ? {} : { authorization: `Bearer ${token}` });
    if (body !== undefined) headers.set("content-type", "application/json");
    const content = body !== undefined ? JSON.stringify(body) : form && encode(form);
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const response = await fetch(url, { method, headers, body: content ?? null, signal });
      const text = await response.text();
      return { status: response.status, headers: response.headers, body: parse(text) };
    } catch (error) {
      throw new DemoError(
        `${url} does not answer any more (${reasonOf(error)}): is Gatehouse still running?`,
        error,
      );
    }
  }
}

function encode(form: NonNullable<DemoRequest["form"]>): URLSearchParams {
  const pairs = Object.entries(form).map(([name, value]) => [
    name,
    value instanceof Secret ? value.value : value,
  ]);
  return new URLSearchParams(Object.fromEntries(pairs));
}

function unexpected({ method, url }: DemoRequest, { status, body }: Answer): DemoError {
  const said = detailOf(body);
  return new DemoError(`${method} ${url} was answered with ${status}${said === "" ? "" : `: ${said}`}`);
}

/** A token is a secret as long as it lives: its beginning is enough to see what it is. */
function maskToken(body: unknown): unknown {
  if (typeof body !== "object" || body === null || !("access_token" in body)) return body;
  return { ...body, access_token: `${String(body.access_token).slice(0, 12)}...` };
}

function parse(text: string): unknown {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return text;
  }
}

/** What went wrong, out of the error shapes of all dialects. */
function detailOf(body: unknown): string {
  if (typeof body === "string") return body.slice(0, 200);
  const { detail, error, error_description: described, message } = (body ?? {}) as Record<string, unknown>;
  const inner =
    typeof error === "object" && error !== null ? (error as Record<string, unknown>)["detail"] : error;
  return [described, detail, inner, message].filter((text) => typeof text === "string")[0] ?? "";
}

/** Why a fetch failed: the reason is in its cause, of which there is one per address tried. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause;
  if (!(first instanceof Error)) return messageOf(error);
  return "code" in first ? String(first.code) : first.message;
}
