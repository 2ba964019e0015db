import type { Clock } from "../platform/clock.js";
import type { AccessRecords } from "./access-records.js";
import { type Admitted, admit, admitFresh, type TokenFacts } from "./admission.js";
import type { Denylist } from "./denylist.js";
import type { ResourceServer, ResourceServers } from "./resource-servers.js";
import type { UserRecords } from "./users.js";
import { InvalidTokenError, type VerifiedToken } from "./verifier.js";

export interface JudgeDeps {
  readonly records: AccessRecords;
  readonly users: UserRecords;
  readonly denylist: Denylist;
  readonly resourceServers: ResourceServers;
  readonly clock: Clock;
}

/**
 * Says what verified tokens are worth now (DESIGN.md section 5): revoked ones, those of disabled clients and people
 * and of deleted resource servers are worth nothing within a second of that, in every process.
 */
export class TokenJudge {
  readonly #deps: JudgeDeps;

  constructor(deps: JudgeDeps) {
    this.#deps = deps;
  }

  /** Whom a token stands for, where memory alone can say so: without a promise, for the hot path. */
  recall(token: VerifiedToken): Admitted | null {
    const { records, users, denylist } = this.#deps;
    if (denylist.recall(token.jti) !== false) return null;
    const client = now(records.get(token.clientId));
    const user = token.user === null ? null : now(users.get(token.user.id));
    const server = now(this.#serverOf(token));
    if (client === undefined || user === undefined || server === undefined || server === null) return null;
    const admission = admit(token, { client, user, server }, this.#now());
    return typeof admission === "string" ? null : admission;
  }

  /** The same by the database where memory cannot say. Throws an `InvalidTokenError`, or `unavailable`. */
  async judge(token: VerifiedToken): Promise<Admitted> {
    const { records, users, denylist } = this.#deps;
    if (await denylist.has(token.jti)) throw revoked();
    const server = await this.#serverOf(token);
    if (server === null) throw new InvalidTokenError("the access token is for another audience");
    const facts = async (read: "get" | "reload"): Promise<TokenFacts> => {
      const [client, user] = await Promise.all([
        records[read](token.clientId),
        token.user === null ? null : users[read](token.user.id),
      ]);
      return { client, user, server };
    };
    const admission = admit(token, await facts("get"), this.#now());
    const last = admission === "behind" ? admitFresh(token, await facts("reload"), this.#now()) : admission;
    if (typeof last === "string") throw revoked();
    return last;
  }

  /** What the token was issued for, as it is now; null where that is gone, also where another took its name. */
  #serverOf({ resourceServer, organizationId }: VerifiedToken): Found {
    const { id, audience } = resourceServer;
    if (id === null) return resourceServer;
    const found = this.#deps.resourceServers.byAudience(audience, organizationId);
    const same = (server: ResourceServer | null) => (server?.id === id ? server : null);
    return found instanceof Promise ? found.then(same) : same(found);
  }

  #now(): number {
    return this.#deps.clock.now().getTime();
  }
}

type Found = ResourceServer | null | Promise<ResourceServer | null>;

/** What is known at once; undefined for what is not. Whoever asks again gets what is under way, and its failure. */
function now<T>(value: T | Promise<T>): T | undefined {
  if (!(value instanceof Promise)) return value;
  value.catch(() => {});
  return undefined;
}

function revoked(): InvalidTokenError {
  return new InvalidTokenError("the access token was revoked");
}
