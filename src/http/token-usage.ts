import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { TokenCounts } from "../auth/token-counts.js";
import type { AuditBuffer } from "../domain/audit/buffer.js";
import type { Clock } from "../platform/clock.js";
import type { Counters } from "../platform/counters.js";
import { countFailure, countUse, type RatePolicy, refuseAfterFailures } from "./rate-limit.js";

/** What is counted of token requests, and how many there may be. */
export interface TokenUsageDeps {
  readonly counters: Counters;
  readonly tokenCounts: TokenCounts;
  readonly audit: AuditBuffer;
  readonly clock: Clock;
  readonly tokensPerClient: RatePolicy;
  readonly tokensPerAddress: RatePolicy;
  readonly failures: RatePolicy;
}

/**
 * Limits the token routes of a scope per address and per client, counts what they issue, and notes refused
 * credentials in the audit log. Limits per client are counted per address too: nobody can use up the quota of
 * somebody else's client.
 */
export function limitTokenRequests(scope: FastifyInstance, deps: TokenUsageDeps): void {
  const { counters, tokensPerClient, tokensPerAddress, failures, clock } = deps;
  scope.addHook("preHandler", async (request, reply) => {
    if (request.method !== "POST") return;
    const now = clock.now().getTime();
    refuseAfterFailures(counters, failures, request.ip, now);
    countUse(counters, tokensPerAddress, request.ip, now, reply);
    const clientId = claimedClient(request);
    if (clientId !== null) countUse(counters, tokensPerClient, `${clientId} ${request.ip}`, now, reply);
  });
  scope.addHook("onResponse", async (request, reply) => note(deps, request, reply));
}

function note(deps: TokenUsageDeps, request: FastifyRequest, reply: FastifyReply): void {
  if (request.method !== "POST") return;
  const clientId = claimedClient(request);
  if (reply.raw.statusCode === 200 && clientId !== null) deps.tokenCounts.issued(clientId);
  if (reply.raw.statusCode !== 401) return;
  countFailure(deps.counters, deps.failures, request.ip, deps.clock.now().getTime());
  deps.audit.noteStranger(
    { organizationId: null, claimed: clientId, address: request.ip, requestId: request.id },
    { action: "token.refused", details: { reason: "invalid_client" } },
  );
}

/** The client that a request says it is: nothing is checked here. */
function claimedClient({ body, headers }: FastifyRequest): string | null {
  const fromBody = (body as { client_id?: unknown } | undefined)?.client_id;
  if (typeof fromBody === "string") return fromBody.slice(0, 256);
  const basic = /^basic ([A-Za-z0-9+/=]+)$/i.exec(headers.authorization ?? "")?.[1];
  if (basic === undefined) return null;
  const name = Buffer.from(basic, "base64").toString().split(":", 1)[0] ?? "";
  return decodeForm(name).slice(0, 256);
}

/** RFC 6749 section 2.3.1: the parts of Basic credentials are form-encoded. */
function decodeForm(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}
