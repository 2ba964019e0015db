import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { decodeJwt } from "jose";
import type { AccessCounts } from "../auth/access-counts.js";
import type { AccessRecords } from "../auth/access-records.js";
import { isClientId } from "../auth/clients.js";
import type { TokenCounts } from "../auth/token-counts.js";
import type { TokenParameters } from "../auth/token-parameters.js";
import type { AuditBuffer } from "../domain/audit/buffer.js";
import type { Clock } from "../platform/clock.js";
import type { Counters } from "../platform/counters.js";
import { networkOf } from "../platform/networks.js";
import { countFailure, countUse, type RatePolicy, refuseAfterFailures } from "./rate-limit.js";

/** How many requests of clients there may be. */
export interface TokenLimits {
  readonly tokensPerClient: RatePolicy;
  readonly tokensPerAddress: RatePolicy;
  /** Failed credential checks, of whatever kind. */
  readonly failuresPerAddress: RatePolicy;
}

/** Where requests of clients are counted and written down. */
export interface UsageDeps {
  readonly counters: Counters;
  readonly tokenCounts: TokenCounts;
  readonly counts: AccessCounts;
  readonly records: AccessRecords;
  readonly audit: AuditBuffer;
  readonly clock: Clock;
}

/** What is counted of token requests, and how many there may be. */
export interface TokenUsageDeps extends UsageDeps, TokenLimits {}

type Done = (error?: Error) => void;
/** Told of each answer when it is made: who hangs up before it is sent has asked all the same. */
export type Answered = (request: FastifyRequest, status: number) => void;

/**
 * Limits the token routes of a scope per address and per client, counts what they issue, and notes refused
 * credentials in the audit log. Limits per client are counted per address too: nobody can use up the quota of
 * somebody else's client. All of it is done in memory.
 * @returns to be told of answers that are sent past the hooks of the scope
 */
export function limitTokenRequests(scope: FastifyInstance, deps: TokenUsageDeps): Answered {
  const { counters, tokensPerClient, tokensPerAddress, tokenCounts, counts } = deps;
  return limit(
    scope,
    deps,
    (request, reply, now) => {
      const network = networkOf(request.ip);
      countUse(counters, tokensPerAddress, network, now, reply);
      const clientId = claimedClient(request);
      if (clientId !== null) countUse(counters, tokensPerClient, `${clientId} ${network}`, now, reply);
    },
    (request, status) => {
      if (status !== 200) return counts.tokenRefused(status);
      counts.tokenIssued((request.body as TokenParameters | undefined)?.grant_type);
      const clientId = claimedClient(request);
      if (clientId !== null) tokenCounts.issued(clientId);
    },
  );
}

/** The same for endpoints that are told tokens: those may be asked as often as one likes, by who has credentials. */
export function limitPresentedTokens(scope: FastifyInstance, deps: TokenUsageDeps): Answered {
  return limit(scope, deps);
}

/**
 * Refuses an address that has failed too often, and notes further failures.
 * @param before done with each request that is not refused; may throw
 * @param count done with each answer
 */
function limit(
  scope: FastifyInstance,
  deps: TokenUsageDeps,
  before?: (request: FastifyRequest, reply: FastifyReply, now: number) => void,
  count?: Answered,
): Answered {
  const { counters, failuresPerAddress, clock } = deps;
  scope.addHook("preHandler", (request: FastifyRequest, reply: FastifyReply, done: Done) => {
    if (request.method !== "POST") return done();
    try {
      const now = clock.now().getTime();
      refuseAfterFailures(counters, failuresPerAddress, request.ip, now);
      before?.(request, reply, now);
    } catch (error) {
      return done(error as Error);
    }
    done();
  });
  const answered: Answered = (request, status) => {
    if (request.method !== "POST") return;
    count?.(request, status);
    if (status === 401) void noteFailure(deps, request);
  };
  scope.addHook("onSend", (request: FastifyRequest, reply: FastifyReply, _payload: unknown, done: Done) => {
    answered(request, reply.statusCode);
    done();
  });
  return answered;
}

async function noteFailure(deps: TokenUsageDeps, request: FastifyRequest): Promise<void> {
  const { counters, failuresPerAddress, records, clock, audit, counts } = deps;
  counts.credentialRefused("client");
  countFailure(counters, failuresPerAddress, request.ip, clock.now().getTime());
  const claimed = claimedClient(request);
  // The tenant whose client is tried can see it in its own log.
  const client = claimed === null ? null : await Promise.resolve(records.get(claimed)).catch(() => null);
  audit.noteStranger(
    {
      organizationId: client?.organizationId ?? null,
      // What is nobody's name may be a secret that was typed in the wrong place.
      claimed: client === null ? null : claimed,
      ...{ address: request.ip, requestId: request.id },
    },
    { action: "token.refused", details: { reason: "invalid_client" } },
  );
}

/** Writes down that a client, which has authenticated, asked for what it may not have. Never rejects. */
export async function noteDenial(
  { records, audit }: UsageDeps,
  { ip, id: requestId }: FastifyRequest,
  clientId: string,
  error: string,
): Promise<void> {
  const client = await Promise.resolve(records.get(clientId)).catch(() => null);
  if (client === null) return;
  const origin = { address: ip, requestId };
  audit.note(
    { ...client, kind: "client", origin },
    { action: "token.denied", outcome: "denied", details: { error } },
  );
}

/** The client that a request says it is, where that could be one: nothing else is checked here. */
function claimedClient(request: FastifyRequest): string | null {
  const claimed = claimOf(request);
  return claimed !== null && isClientId(claimed) ? claimed : null;
}

function claimOf({ body, headers }: FastifyRequest): string | null {
  const { client_id, client_assertion } = (body ?? {}) as TokenParameters;
  if (client_id !== undefined) return client_id;
  const basic = /^basic ([A-Za-z0-9+/=]+)$/i.exec(headers.authorization ?? "")?.[1];
  if (basic === undefined) return client_assertion === undefined ? null : claimedBy(client_assertion);
  const name = Buffer.from(basic, "base64").toString().split(":", 1)[0] ?? "";
  return decodeForm(name);
}

/** RFC 7523 section 3: the subject of an assertion is the client. */
function claimedBy(assertion: string): string | null {
  try {
    const { sub } = decodeJwt(assertion);
    return typeof sub === "string" ? sub : null;
  } catch {
    return null;
  }
}

/** RFC 6749 section 2.3.1: the parts of Basic credentials are form-encoded. */
function decodeForm(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}
