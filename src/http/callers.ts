import type { FastifyReply, FastifyRequest } from "fastify";
import type { AccessCounts } from "../auth/access-counts.js";
import type { AccessRecords } from "../auth/access-records.js";
import type { Admitted } from "../auth/admission.js";
import type { ApiKeys } from "../auth/api-keys.js";
import type { Denylist } from "../auth/denylist.js";
import { DpopError, type Proofs } from "../auth/dpop.js";
import { TokenJudge } from "../auth/judge.js";
import type { Identity, Principal } from "../auth/principal.js";
import type { DialectName, ResourceServer, ResourceServers } from "../auth/resource-servers.js";
import type { UserRecords } from "../auth/users.js";
import {
  bearerToken,
  type CredentialHolder,
  InvalidTokenError,
  type TokenVerifier,
  type VerifiedToken,
} from "../auth/verifier.js";
import type { AuditBuffer } from "../domain/audit/buffer.js";
import type { Clock } from "../platform/clock.js";
import type { Counters } from "../platform/counters.js";
import { AppError } from "../platform/errors.js";
import { type Credential, challengeOf, credentialOf, keyOfBody, NO_CREDENTIAL } from "./credentials.js";
import { routedPath, sentPath } from "./dialect.js";
import { countFailure, type RatePolicy, refuseAfterFailures } from "./rate-limit.js";

/** What finding out who calls needs of the rest. */
export interface CallerDeps {
  readonly verifier: TokenVerifier;
  readonly accessRecords: AccessRecords;
  readonly users: UserRecords;
  readonly denylist: Denylist;
  readonly resourceServers: ResourceServers;
  readonly proofs: Proofs;
  readonly apiKeys: ApiKeys;
  /** Whom a session cookie stands for, null where it is over; throws where the request may be forged (CSRF). */
  readonly sessions: (request: FastifyRequest) => Promise<Identity | null>;
  readonly audit: AuditBuffer;
  readonly counts: AccessCounts;
  /** Failed credential checks, per address. */
  readonly counters: Counters;
  readonly failures: RatePolicy;
  /** The dialect whose path it is; null: nobody's. */
  readonly dialectOf: (path: string) => DialectName | null;
  readonly clock: Clock;
  /** Where clients learn how to get tokens (RFC 9728); challenges point there. */
  readonly resourceMetadata?: string;
}

type TokenCredential = Extract<Credential, { readonly kind: "token" }>;

/** Finds out who makes a request. */
export class Callers {
  readonly #deps: CallerDeps;
  readonly #tokens: TokenJudge;

  constructor(deps: CallerDeps) {
    this.#deps = deps;
    this.#tokens = new TokenJudge({ ...deps, records: deps.accessRecords });
  }

  /** The caller, where a token and records in memory say so. Sets what the request knows of it. */
  fromMemory(request: FastifyRequest): Principal | null {
    const encoded = bearerToken(request);
    if (encoded === null) return null;
    const key = this.#deps.apiKeys.recall(encoded, this.#now());
    if (key !== null) return accept(request, key, null);
    const token = this.#deps.verifier.recall(encoded);
    // With a bound one goes a proof, and that takes its time.
    if (token === null || token.jkt !== null) return null;
    const admitted = this.#tokens.recall(token);
    if (admitted === null || !this.#opens(admitted.server, request)) return null;
    return accept(request, admitted.identity, withServer(token, admitted));
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
    const { counters, failures, audit, counts } = this.#deps;
    if (credential.kind === "none" || credential.kind === "body") {
      throw this.#unauthenticated(reply, NO_CREDENTIAL, "a bearer token is required");
    }
    refuseAfterFailures(counters, failures, request.ip, this.#now());
    try {
      if (credential.kind === "token") return await this.#byToken(request, credential);
      const identity =
        credential.kind === "key" ? await this.#byKey(credential.value) : await this.#bySession(request);
      return accept(request, identity, null);
    } catch (error) {
      if (!(error instanceof InvalidTokenError)) throw error;
      countFailure(counters, failures, request.ip, this.#now());
      counts.credentialRefused(credential.kind);
      audit.noteStranger(
        {
          organizationId: error.holder?.organizationId ?? null,
          claimed: error.holder?.name ?? null,
          ...{ address: request.ip, requestId: request.id },
        },
        { action: "credential.refused", details: { kind: credential.kind, reason: error.message } },
      );
      throw this.#unauthenticated(reply, challengeOf(credential, error), error.message, error);
    }
  }

  async #byToken(request: FastifyRequest, { value, scheme }: TokenCredential): Promise<Principal> {
    const { verifier } = this.#deps;
    const token = verifier.recall(value) ?? (await verifier.verify(request, value));
    try {
      requireScheme(token, scheme);
      const admitted = await this.#tokens.judge(token);
      if (token.jkt !== null) await this.#requireProof(request, value, token.jkt);
      if (!this.#opens(admitted.server, request)) {
        throw new InvalidTokenError("the access token is for another audience");
      }
      return accept(request, admitted.identity, withServer(token, admitted));
    } catch (error) {
      throw heldBy(error, { organizationId: token.organizationId, name: token.clientId });
    }
  }

  async #requireProof(request: FastifyRequest, accessToken: string, thumbprint: string): Promise<void> {
    const proof = request.headers["dpop"]?.toString();
    const proven = { method: request.method, path: sentPath(request), accessToken };
    await this.#deps.proofs.check(proof, proven, thumbprint);
  }

  async #byKey(key: string): Promise<Identity> {
    const record = await this.#deps.apiKeys.find(key);
    const identity = this.#deps.apiKeys.admit(record, this.#now());
    if (identity !== null) return identity;
    throw heldBy(
      new InvalidTokenError("the API key is unknown, disabled or expired"),
      record === null ? null : record.identity,
    );
  }

  async #bySession(request: FastifyRequest): Promise<Identity> {
    const identity = await this.#deps.sessions(request);
    if (identity === null) throw new InvalidTokenError("the session is over: log in again");
    return identity;
  }

  /** A registered audience opens the dialects that it names; what no dialect owns is open to all (health, metadata). */
  #opens(server: ResourceServer, request: FastifyRequest): boolean {
    return opensDialect(server, this.#deps.dialectOf(routedPath(request)));
  }

  #unauthenticated(reply: FastifyReply, wanted: string, message: string, cause?: unknown): AppError {
    const { resourceMetadata } = this.#deps;
    const challenge =
      resourceMetadata === undefined ? wanted : `${wanted}, resource_metadata="${resourceMetadata}"`;
    reply.header("www-authenticate", challenge);
    return new AppError("unauthenticated", message, { cause });
  }

  #now(): number {
    return this.#deps.clock.now().getTime();
  }
}

/** The same error, which says whose credential was refused. */
function heldBy(error: unknown, holder: CredentialHolder | null): unknown {
  if (error instanceof InvalidTokenError) error.holder = holder;
  return error;
}

/** RFC 9449 section 7.2: who steals a bound token must not get away with calling it a bearer token. */
function requireScheme({ jkt }: VerifiedToken, scheme: TokenCredential["scheme"]): void {
  if (jkt !== null && scheme === "Bearer") {
    throw new DpopError(
      "invalid_token",
      "the access token is bound to a key: use the scheme DPoP and a proof",
    );
  }
  if (jkt === null && scheme === "DPoP") {
    throw new DpopError("invalid_token", "the access token is bound to no key: use the scheme Bearer");
  }
}

/** The token as it is now: its resource server may have been changed since it was verified. */
function withServer(token: VerifiedToken, { server }: Admitted): VerifiedToken {
  return token.resourceServer === server ? token : { ...token, resourceServer: server };
}

/** Whether tokens for a resource server open a dialect; null: what no dialect owns. */
export function opensDialect({ dialects }: ResourceServer, dialect: DialectName | null): boolean {
  return dialects === "all" || dialect === null || dialects.has(dialect);
}

function accept(request: FastifyRequest, identity: Identity, token: VerifiedToken | null): Principal {
  const origin = { address: request.ip, requestId: request.id, traceparent: request.traceparent ?? null };
  const principal = { ...identity, origin };
  request.accessToken = token;
  request.authenticated = principal;
  return principal;
}
