import type {} from "@fastify/swagger";
import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { JWKS_MAX_AGE_S, type SigningKeys } from "../auth/keys.js";
import type { Answer, TokenEndpoint } from "../auth/token-endpoint.js";
import { type PasswordCheck, TOKEN_PATH } from "../auth/token-request.js";
import type { People } from "../domain/people/people.js";
import { addIntrospection, addRevocation, type PresentedTokenDeps } from "./oauth-presented.js";
import { ALIAS_PATH, JWKS_PATH, JWKS_SCHEMA, TOKEN_OPERATION, TOKEN_SCHEMA } from "./oauth-schemas.js";
import { addOAuthRoute, readAsOAuth } from "./oauth-scope.js";
import {
  type Answered,
  limitPresentedTokens,
  limitTokenRequests,
  noteDenial,
  type TokenLimits,
  type UsageDeps,
} from "./token-usage.js";

/** What the OAuth routes ask. */
export interface OAuthOptions extends PresentedTokenDeps, UsageDeps {
  readonly tokens: TokenEndpoint;
  readonly keys: SigningKeys;
  /** Absent: nothing is limited, and nothing counted. */
  readonly limits?: TokenLimits;
  /** Who checks passwords; absent: the password grant is off. */
  readonly people?: Pick<People, "authenticate">;
}

/**
 * The OAuth routes: `/oauth/token` and its alias, `/oauth/introspect`, `/oauth/revoke` and `/oauth/jwks`. Bodies,
 * errors and validation are scopes of their own here, since RFC 6749 says how each looks.
 */
export const oauthPlugin = fp<OAuthOptions>(
  async (app: FastifyInstance, options: OAuthOptions) => {
    const { limits, keys } = options;
    await app.register(async (scope) => {
      readAsOAuth(scope, "issuing");
      const answered = limits && limitTokenRequests(scope, { ...options, ...limits });
      for (const path of [TOKEN_PATH, ALIAS_PATH]) addTokenRoute(scope, path, options, answered);
    });
    await app.register(async (scope) => {
      readAsOAuth(scope, "presented");
      const answered = limits && limitPresentedTokens(scope, { ...options, ...limits });
      addIntrospection(scope, options, answered);
      addRevocation(scope, options, answered);
    });
    addKeyRoute(app, keys);
  },
  { name: "oauth", fastify: "5.x", dependencies: ["guard"] },
);

function addTokenRoute(
  scope: FastifyInstance,
  path: string,
  options: OAuthOptions,
  answered?: Answered,
): void {
  const { tokens, people } = options;
  addOAuthRoute(scope, {
    path,
    schema: { ...TOKEN_SCHEMA, ...TOKEN_OPERATION[path] },
    advice: "tokens are got with POST",
    answered,
    accept: (request) => {
      const { raw } = request;
      const body = request.body ?? {};
      const denied = (clientId: string, error: string): void =>
        void noteDenial(options, request, clientId, error);
      // Most requests have no password to check.
      if (people === undefined || body.grant_type !== "password") {
        return traced(request, tokens.accept(body, raw, { denied }));
      }
      return traced(
        request,
        tokens.accept(body, raw, { denied, checkPassword: passwordCheck(people, request) }),
      );
    },
  });
}

/** Shows how long the issuing takes, within the request. */
function traced({ span }: FastifyRequest, answer: Answer): Answer {
  // Undefined: nothing is traced here at all.
  if (span == null) return answer;
  return (answered) => {
    const issuing = span.child("token issue", "internal");
    answer((found) => {
      issuing.end();
      answered(found);
    });
  };
}

/** Checks passwords for whoever makes a request: a visit without a browser. */
function passwordCheck(people: Pick<People, "authenticate">, request: FastifyRequest): PasswordCheck {
  const visit = {
    ...{ address: request.ip, requestId: request.id, sessionSecret: null, local: false },
    userAgent: request.headers["user-agent"] ?? null,
  };
  // Nobody's name holds NUL, which the database does not take as text.
  return (username, password) => people.authenticate(username.replaceAll("\0", "\ufffd"), password, visit);
}

function addKeyRoute(app: FastifyInstance, keys: SigningKeys): void {
  app.get(JWKS_PATH, { config: { public: true }, schema: JWKS_SCHEMA }, (_request, reply) =>
    reply
      .header("cache-control", `public, max-age=${JWKS_MAX_AGE_S}`)
      .type("application/jwk-set+json")
      .serializer(JSON.stringify)
      .send(keys.jwks),
  );
}
