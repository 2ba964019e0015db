import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ClientRecord } from "../auth/clients.js";
import { type JudgeDeps, TokenJudge } from "../auth/judge.js";
import { OAuthError } from "../auth/oauth-error.js";
import type { Principal } from "../auth/principal.js";
import { type RevocationRecord, revokeToken } from "../auth/revocation.js";
import { nameScopes } from "../auth/scopes.js";
import type { TokenEndpoint } from "../auth/token-endpoint.js";
import { InvalidTokenError, type TokenVerifier, type VerifiedToken } from "../auth/verifier.js";
import { auditSql } from "../domain/audit/audit.js";
import type { AuditBuffer } from "../domain/audit/buffer.js";
import {
  INTROSPECTION_PATH,
  INTROSPECTION_SCHEMA,
  type Introspection,
  REVOCATION_PATH,
  REVOCATION_SCHEMA,
} from "./oauth-schemas.js";
import { addOAuthRoute, type OAuthRequest } from "./oauth-scope.js";
import type { Answered } from "./token-usage.js";

/** What endpoints ask that are told a token. */
export interface PresentedTokenDeps extends JudgeDeps {
  readonly publicUrl: string;
  readonly tokens: TokenEndpoint;
  readonly verifier: TokenVerifier;
  readonly audit: AuditBuffer;
}

/** `/oauth/introspect` (RFC 7662). */
export function addIntrospection(
  scope: FastifyInstance,
  deps: PresentedTokenDeps,
  answered?: Answered,
): void {
  const judge = new TokenJudge(deps);
  addOAuthRoute(scope, {
    path: INTROSPECTION_PATH,
    schema: INTROSPECTION_SCHEMA,
    advice: "tokens are introspected with POST",
    answered,
    accept: (request) =>
      deps.tokens.authenticate(request.body ?? {}, request.raw, introspect(deps, judge, request)),
  });
}

function introspect(deps: PresentedTokenDeps, judge: TokenJudge, request: OAuthRequest) {
  return async (client: ClientRecord): Promise<Introspection> => {
    const token = await present(deps, request);
    // Section 4: what is said of a token, and whether there is one, is nobody else's business.
    if (token === null || token.organizationId !== client.organizationId) return { active: false };
    try {
      const { identity } = await judge.judge(token);
      return {
        active: true,
        scope: nameScopes(identity.scopes).join(" "),
        client_id: token.clientId,
        ...(identity.kind === "user" ? { username: identity.name } : {}),
        token_type: token.jkt === null ? "Bearer" : "DPoP",
        exp: token.expiresAt / 1_000,
        iat: token.issuedAt / 1_000,
        sub: token.subject,
        aud: token.resourceServer.audience,
        iss: deps.publicUrl,
        jti: token.jti,
        ...(token.jkt === null ? {} : { cnf: { jkt: token.jkt } }),
      };
    } catch (error) {
      if (error instanceof InvalidTokenError) return { active: false };
      throw error;
    }
  };
}

/** `/oauth/revoke` (RFC 7009). */
export function addRevocation(scope: FastifyInstance, deps: PresentedTokenDeps, answered?: Answered): void {
  addOAuthRoute(scope, {
    path: REVOCATION_PATH,
    schema: REVOCATION_SCHEMA,
    advice: "tokens are revoked with POST",
    answered,
    accept: (request) => deps.tokens.authenticate(request.body ?? {}, request.raw, revoke(deps, request)),
  });
}

function revoke(deps: PresentedTokenDeps, request: OAuthRequest) {
  return async (client: ClientRecord): Promise<object> => {
    const token = await present(deps, request);
    // Section 2.2: for a token that is worth nothing there is nothing to do.
    if (token !== null) {
      await revokeToken(deps, client, token, recordOf(request)).catch((error: unknown) => {
        if (error instanceof OAuthError) noteRefusal(deps, client, token, error, request);
        throw error;
      });
    }
    // Section 2.2 ignores the body; clients there are that read nothing but JSON.
    return {};
  };
}

/** The token of a request; null where it is none of ours, or expired. */
async function present(
  { verifier }: PresentedTokenDeps,
  request: OAuthRequest,
): Promise<VerifiedToken | null> {
  const encoded = request.body?.token;
  if (encoded === undefined) throw new OAuthError("invalid_request", "token is missing");
  try {
    return verifier.recall(encoded) ?? (await verifier.verify(request, encoded));
  } catch (error) {
    if (error instanceof InvalidTokenError) return null;
    throw error;
  }
}

function recordOf(request: FastifyRequest): RevocationRecord {
  return (tx, client, { jti, clientId, subject }) =>
    auditSql(tx, principalOf(client, request), {
      action: "token.revoke",
      target: { type: "token", id: jti },
      details: { clientId, subject },
    });
}

function noteRefusal(
  { audit }: PresentedTokenDeps,
  client: ClientRecord,
  { jti, clientId, subject }: VerifiedToken,
  { code }: OAuthError,
  request: FastifyRequest,
): void {
  audit.note(principalOf(client, request), {
    ...{ action: "token.revoke", target: { type: "token", id: jti }, outcome: "denied" },
    details: { clientId, subject, error: code },
  });
}

function principalOf(client: ClientRecord, request: FastifyRequest): Principal {
  const { id, name, organizationId, projects, scopes } = client;
  const origin = { address: request.ip, requestId: request.id };
  return { kind: "client", id, name, organizationId, projects, scopes, origin };
}
