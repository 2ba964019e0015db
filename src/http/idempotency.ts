import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { type HeldKey, type ProjectAccess, projectFilter } from "../auth/principal.js";
import type { Found, IdempotencyKeys, KeptAnswer, Repeatable } from "../operations/idempotency.js";
import { keyInFlight, type Taking } from "../operations/takings.js";
import { sameBytes } from "../platform/crypto.js";
import { AppError, invalid } from "../platform/errors.js";
import { newId } from "../platform/ids.js";
import type { Sql } from "../platform/sql.js";
import { sentPath } from "./dialect.js";
import { repeat, toKeptAnswer } from "./idempotency-answer.js";
import { faultOfValue } from "./json.js";
import { isSafe } from "./methods.js";
import { prefersAsync } from "./prefer.js";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The route keeps its answer in the transaction of its effect (`acceptWork`): always, or where the client prefers `respond-async`. */
    idempotency?: "transaction" | "transaction if async";
  }
  interface FastifyRequest {
    /** The hold on the request's Idempotency-Key; null: it has none. */
    idempotency: KeyHold | null;
    /**
     * On routes with `upload: true`, where the request's Idempotency-Key has an answer already: the route reads the
     * upload to its end, and answers by this alone. Null: it goes on.
     */
    replayUpload: ReplayUpload | null;
  }
}

export interface Idempotency {
  readonly keys: IdempotencyKeys;
  /**
   * Keyed hashes of a text, which may hold a password: under the present master key first, then under those that
   * are still accepted.
   */
  readonly hashesOf: (content: string) => readonly Uint8Array[];
}

/** Repeats the first answer. Throws where another upload was sent then. @param digest of what was uploaded now */
type ReplayUpload = (digest: string) => FastifyReply;

/** 1 to 255 visible characters: an UUID, mostly. */
const KEY = /^[\x21-\x7e]{1,255}$/;

/** A request's hold on its key. */
export class KeyHold {
  /** Whether the route itself keeps the answer, with its effect. */
  readonly inTransaction: boolean;
  readonly #keys: IdempotencyKeys;
  #request: Repeatable;
  readonly #hashWith: (digest: string) => Uint8Array;
  readonly #isGone: () => boolean;
  readonly #claim = newId();

  /**
   * @param isGone whether the client has hung up
   * @param hashWith the request's hash with that of an upload
   */
  constructor(
    keys: IdempotencyKeys,
    request: Repeatable,
    inTransaction: boolean,
    isGone: () => boolean,
    hashWith: (digest: string) => Uint8Array = () => request.requestHash,
  ) {
    this.#keys = keys;
    this.#request = request;
    this.inTransaction = inTransaction;
    this.#isGone = isGone;
    this.#hashWith = hashWith;
  }

  /** What was uploaded makes the request the same as an earlier one, too: to be told before the answer is kept. */
  includeUpload(digest: string): void {
    this.#request = { ...this.#request, requestHash: this.#hashWith(digest) };
  }

  claim(): Promise<boolean> {
    return this.#keys.claim(this.#request, this.#claim);
  }

  /** What was taken by `claim`. */
  get held(): HeldKey {
    return { id: this.#request.id, claim: this.#claim };
  }

  /**
   * Keeps the answer together with the effect. Throws, and so takes the effect back, where another was first, and where
   * the client has hung up: it sends the request again, and may have been answered that otherwise by then.
   */
  async keep(tx: Sql, answer: KeptAnswer): Promise<void> {
    this.#mustBeThere();
    if (!(await this.#keys.keep(tx, this.#request, this.#claim, answer))) throw keyInFlight();
  }

  /** For a statement that keeps the answer with the effect by itself. Throws as `keep`. */
  taking(answer: KeptAnswer): Taking {
    this.#mustBeThere();
    return this.#keys.takingOf(this.#request, this.#claim, answer);
  }

  #mustBeThere(): void {
    if (this.#isGone()) throw new AppError("unavailable", "the client has hung up: send the request again");
  }

  /**
   * What to throw where the effect could not be: perhaps because it is there, by the same request. A refusal is for good:
   * no copy of the request that came before has the effect later.
   */
  async explain(error: unknown): Promise<unknown> {
    if (!isRefusal(error)) return error;
    return (await this.#keys.refuse(this.#request, this.#claim)) ? error : keyInFlight();
  }

  /**
   * The end of a request that claimed its key: failures have changed nothing, and free it. False where another has it by
   * now, whose answer is the one that is kept.
   */
  async settle(reply: FastifyReply, payload: unknown): Promise<boolean> {
    const { id } = this.#request;
    if (reply.statusCode < 400) return this.#keys.settle(id, this.#claim, toKeptAnswer(reply, payload));
    await this.#keys.release(id, this.#claim);
    return true;
  }
}

/**
 * `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07) on everything that changes something: who sends
 * the same request under the same key within 24 hours gets the first answer again, with `Idempotent-Replayed: true`,
 * and nothing is done; another query or body is 422; a request whose first is still in flight is 409 with
 * `Retry-After`. Keys are a principal's own, per method and path. Failures are not repeated: they have changed nothing,
 * and whatever is sent under their key next, the same or another body, is a new request. An upload is compared once it
 * was read, so its route does that: see `replayUpload` and `KeyHold.includeUpload`.
 *
 * What is guaranteed:
 * - Routes that accept operations (sync, cancel, retry, a test with `respond-async`) keep the answer in the transaction that accepts: exactly
 *   once, whatever dies when. Once they have refused a request, a copy of it that came before is not accepted later.
 * - All others take the key before, make sure in their own transaction that it is still theirs (`audit`), and keep the
 *   answer after that: once at most at a time, and once altogether unless the process (or its database) dies, or stands
 *   still for 15 seconds, between the last two. Then the key is free again, and the same request is done again, by the
 *   rules of the route: a name that is taken is a 409, what was deleted a 404. Tests and discoveries of connections,
 *   which change nothing, are made again as well where the process stood still before.
 * - A caller that no longer reaches all the projects that it reached then is refused.
 * - An answer that holds a secret is repeated in full for ten minutes, kept encrypted; later without the secret.
 */
export const idempotencyPlugin = fp<Idempotency>(
  async (app: FastifyInstance, { keys, hashesOf }: Idempotency) => {
    app.decorateRequest("idempotency", null);
    app.decorateRequest("replayUpload", null);
    const begin = async (request: FastifyRequest, reply: FastifyReply, key: string): Promise<boolean> => {
      const asked = describe(request, key);
      const hashesWith = (digest?: string) => hashesOf(contentOf(request, digest));
      const hashWith = (digest?: string) => hashesWith(digest)[0] ?? new Uint8Array();
      const { idempotency, upload } = request.routeOptions.config;
      const inTransaction =
        idempotency === "transaction" || (idempotency !== undefined && prefersAsync(request));
      const found = await keys.find(asked.id);
      const refusal = found?.refusal ?? null;
      if (found !== null && refusal === null) {
        const replayWith = (digest?: string) => replay(request, reply, found, hashesWith(digest));
        if (upload === true) request.replayUpload = replayWith;
        else replayWith();
        return upload === true;
      }
      const repeatable = { ...asked, requestHash: hashWith(), refusal };
      const hold = new KeyHold(keys, repeatable, inTransaction, () => isGone(request), hashWith);
      if (!inTransaction) {
        if (!(await hold.claim())) throw keyInFlight();
        request.authenticated = { ...request.principal, held: hold.held };
      }
      request.idempotency = hold;
      return true;
    };
    app.addHook("preHandler", (request, reply, done) => {
      const key = request.headers["idempotency-key"];
      // Most requests have none: they do not wait for a turn of the event loop.
      if (key === undefined || request.authenticated === null || isSafe(request.method)) return done();
      begin(request, reply, String(key)).then((first) => {
        if (first) done();
      }, done);
    });
    app.addHook("onSend", async (request, reply, payload) => {
      const hold = request.idempotency;
      request.idempotency = null;
      if (hold === null || hold.inTransaction) return payload;
      const isMine = await hold.settle(reply, payload).catch((error: unknown) => {
        request.log.warn({ err: error }, "the answer to an idempotent request could not be kept");
        return true;
      });
      if (!isMine) throw keyInFlight();
      return payload;
    });
  },
  { name: "idempotency", dependencies: ["guard"] },
);

/** Whose key it is, and of what. Throws an invalid request where it cannot be told. */
function describe(request: FastifyRequest, key: string) {
  if (!KEY.test(key)) {
    const message = "must be 1 to 255 visible ASCII characters";
    throw invalid(`Idempotency-Key ${message}`, [{ path: "/headers/idempotency-key", message }]);
  }
  const fault = faultOfValue(request.body, "");
  if (fault !== null) throw invalid(`${fault.path} ${fault.message}`, [fault]);
  const { method, principal } = request;
  const path = sentPath(request);
  const scope = [principal.kind, principal.id, method, path, key];
  return {
    ...{ method, path, projects: projectFilter(principal) },
    id: createHash("sha256").update(JSON.stringify(scope)).digest(),
  };
}

/** What makes a request the same as an earlier one. What is uploaded comes after its hooks, and counts by its digest. */
function contentOf({ query, body }: FastifyRequest, digest?: string): string {
  const sent = [query, body ?? null];
  return JSON.stringify(digest === undefined ? sent : [...sent, digest], inOrder);
}

/** Members in the order of their names: the order in which they were sent says nothing. */
function inOrder(_name: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function replay(
  { principal }: FastifyRequest,
  reply: FastifyReply,
  found: Found,
  hashes: readonly Uint8Array[],
): FastifyReply {
  if (!hashes.some((hash) => sameBytes(hash, found.requestHash))) {
    throw new AppError("unprocessable", "this Idempotency-Key was used for another request: take a new one");
  }
  if (found.answer === null) throw keyInFlight();
  if (!reaches(principal.projects, found.projects)) {
    const message =
      "the first answer may tell of projects that you no longer reach: take a new Idempotency-Key";
    throw new AppError("forbidden", message);
  }
  return repeat(reply, found.answer);
}

/** Whether a caller reaches all that it reached when it got an answer; what was taken away since is not told again. */
function reaches(now: ProjectAccess, then: readonly string[] | null): boolean {
  return now === "all" || (then?.every((id) => now.has(id)) ?? false);
}

function isGone({ raw }: FastifyRequest): boolean {
  return raw.socket.destroyed === true;
}

/** An answer that nobody is asked to send the request again for. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof AppError) || error.details["retryAfter"] !== undefined) return false;
  return error.code !== "unavailable" && error.code !== "internal" && error.code !== "rate_limited";
}
