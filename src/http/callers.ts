import type { FastifyReply, FastifyRequest } from "fastify";
import type { AccessRecords } from "../auth/access-records.js";
import { admit, admitFresh } from "../auth/admission.js";
import type { ApiKeys } from "../auth/api-keys.js";
import type { Denylist } from "../auth/denylist.js";
import type { Identity, Principal } from "../auth/principal.js";
import type { DialectName } from "../auth/resource-servers.js";
import { bearerToken, InvalidTokenError, type TokenVerifier, type VerifiedToken } from "../auth/verifier.js";
import type { AuditBuffer } from "../domain/audit/buffer.js";
import type { Clock } from "../platform/clock.js";
import type { Counters } from "../platform/counters.js";
import { AppError } from "../platform/errors.js";
import { type Credential, credentialOf, keyOfBody } from "./credentials.js";
import { countFailure, type RatePolicy, refuseAfterFailures } from "./rate-limit.js";

/** What finding out who calls needs of the rest. */
export interface CallerDeps {
  readonly verifier: TokenVerifier;
  readonly accessRecords: AccessRecords;
  readonly denylist: Denylist;
  readonly apiKeys: ApiKeys;
  /** Whom a session cookie stands for, null where it is over; throws where the request may be forged (CSRF). */
  readonly sessions: (request: FastifyRequest) => Promise<Identity | null>;
  readonly audit: AuditBuffer;
  /** Failed credential checks, per address. */
  readonly counters: Counters;
  readonly failures: RatePolicy;
  /** The dialect whose path it is; null: nobody's. */
  readonly dialectOf: (path: string) => DialectName | null;
  readonly clock: Clock;
}

/** Finds out who makes a request. */
export class Callers {
  readonly #deps: CallerDeps;

  constructor(deps: CallerDeps) {
    this.#deps = deps;
  }

  /** The caller, where a token and records in memory say so. Sets what the request knows of it. */
  fromMemory(request: FastifyRequest): Principal | null {
    const encoded = bearerToken(request);
    const token = encoded === null ? null : this.#deps.verifier.recall(encoded);
    if (token === null || this.#deps.denylist.recall(token.jti) !== false) return null;
    const record = this.#deps.accessRecords.get(token.clientId);
    if (record instanceof Promise) {
      // `authenticate` asks again, and has what is under way for it; a failure is told there.
      record.catch(() => {});
      return null;
    }
    const identity = admit(token, record, this.#now());
    if (typeof identity === "string" || !this.#opens(token, request)) return null;
    return accept(request, identity, token);
  }

  /** The caller; null where only the body can say. Throws `unauthenticated` with the challenge on the reply. */
  async authenticate(request: FastifyRequest, reply: FastifyReply): Promise<Principal | null> {
    const credential = credentialOf(request);
    if (credential.kind === "body") return null;
    return this.#judge(request, reply, credential);
  }

  /** The caller by a key in the body that was read meanwhile. */
  async authenticateByBody(request: FastifyRequest, reply: FastifyReply): Promise<Principal> {
    const value = keyOfBody(request);
    return this.#judge(request, reply, value === null ? { kind: "none" } : { kind: "key", value });
  }

  async #judge(request: FastifyRequest, reply: FastifyReply, credential: Credential): Promise<Principal> {
    const { counters, failures, audit } = this.#deps;
    // RFC 6750 section 3.1: no error code for who sent nothing; section 3: but a parameter there must be.
    if (credential.kind === "none" || credential.kind === "body") {
      throw unauthenticated(reply, 'Bearer realm="gatehouse"', "a bearer token is required");
    }
    refuseAfterFailures(counters, failures, request.ip, this.#now());
    try {
      if (credential.kind === "token") return await this.#byToken(request, credential.value);
      const identity =
        credential.kind === "key" ? await this.#byKey(credential.value) : await this.#bySession(request);
      return accept(request, identity, null);
    } catch (error) {
      if (!(error instanceof InvalidTokenError)) throw error;
      countFailure(counters, failures, request.ip, this.#now());
      audit.noteStranger(
        { organizationId: null, claimed: null, address: request.ip, requestId: request.id },
        { action: "credential.refused", details: { kind: credential.kind, reason: error.message } },
      );
      const challenge = `Bearer error="invalid_token", error_description="${error.message}"`;
      throw unauthenticated(reply, challenge, error.message, error);
    }
  }

  async #byToken(request: FastifyRequest, encoded: string): Promise<Principal> {
    const { verifier, accessRecords, denylist } = this.#deps;
    const token = verifier.recall(encoded) ?? (await verifier.verify(request, encoded));
    if (await denylist.has(token.jti)) throw new InvalidTokenError("the access token was revoked");
    let identity = admit(token, await accessRecords.get(token.clientId), this.#now());
    if (identity === "behind") {
      identity = admitFresh(token, await accessRecords.reload(token.clientId), this.#now());
    }
    if (identity === "revoked") throw new InvalidTokenError("the access token was revoked");
    if (!this.#opens(token, request)) throw new InvalidTokenError("the access token is for another audience");
    return accept(request, identity, token);
  }

  async #byKey(key: string): Promise<Identity> {
    const identity = await this.#deps.apiKeys.authenticate(key, this.#now());
    if (identity === null) throw new InvalidTokenError("the API key is unknown, disabled or expired");
    return identity;
  }

  async #bySession(request: FastifyRequest): Promise<Identity> {
    const identity = await this.#deps.sessions(request);
    if (identity === null) throw new InvalidTokenError("the session is over: log in again");
    return identity;
  }

  /** A registered audience opens the dialects that it names; what no dialect owns is open to all (health, metadata). */
  #opens({ resourceServer: { dialects } }: VerifiedToken, request: FastifyRequest): boolean {
    if (dialects === "all") return true;
    const dialect = this.#deps.dialectOf(request.url.split("?", 1)[0] ?? "/");
    return dialect === null || dialects.has(dialect);
  }

  #now(): number {
    return this.#deps.clock.now().getTime();
  }
}

function accept(request: FastifyRequest, identity: Identity, token: VerifiedToken | null): Principal {
  const principal = { ...identity, origin: { address: request.ip, requestId: request.id } };
  request.accessToken = token;
  request.authenticated = principal;
  return principal;
}

function unauthenticated(reply: FastifyReply, challenge: string, message: string, cause?: unknown): AppError {
  reply.header("www-authenticate", challenge);
  return new AppError("unauthenticated", message, { details: { challenge }, cause });
}
