import type {} from "@fastify/swagger";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { type Static, Type } from "typebox";
import type { SigningKeys } from "../auth/keys.js";
import { JWKS_MAX_AGE_S } from "../auth/keys.js";
import { OAuthError } from "../auth/oauth-error.js";
import type { TokenEndpoint } from "../auth/token-endpoint.js";
import { parseForm, parseJson, type TokenParameters } from "../auth/token-parameters.js";
import { TOKEN_PATH } from "../auth/token-request.js";

/** What the OAuth routes ask. */
export interface OAuthOptions {
  readonly tokens: TokenEndpoint;
  readonly keys: SigningKeys;
}

/** The same endpoint under the name that one of the texts gives it (contracts/core-api.md). */
const ALIAS_PATH = "/organizations/oauth/token";
/** Far more than any token request needs. */
const BODY_LIMIT = 32 * 1024;
const FORM = "application/x-www-form-urlencoded";
const JSON_TYPE = "application/json";

const TokenRequestBody = Type.Object(
  {
    grant_type: Type.String({ description: "`client_credentials`." }),
    client_id: Type.Optional(Type.String({ description: "Here or in HTTP Basic." })),
    client_secret: Type.Optional(Type.String({ description: "Here or in HTTP Basic, never in both." })),
    audience: Type.Optional(
      Type.String({
        description:
          "`service` (24 hours), `default` (1 hour, what is meant where none is named), `<PUBLIC_URL>/api/`, or a " +
          "registered resource server.",
      }),
    ),
    resource: Type.Optional(Type.String({ description: "The same as `audience` (RFC 8707)." })),
    scope: Type.Optional(
      Type.String({
        description:
          "Names with spaces between; none: all that the client was granted. `service`: all of a tenant.",
      }),
    ),
  },
  { description: "Parameters that are not listed are ignored (RFC 6749 section 3.2)." },
);

const TokenAnswer = Type.Object({
  access_token: Type.String({ description: "A JWT (RFC 9068)." }),
  token_type: Type.Literal("Bearer"),
  expires_in: Type.Integer({ description: "Seconds." }),
  scope: Type.String({
    description: "Begins with `service` for a client that was granted everything of a tenant.",
  }),
});

const OAuthFailure = Type.Object({
  error: Type.String({ description: "RFC 6749 section 5.2." }),
  error_description: Type.Optional(Type.String()),
});
type OAuthFailure = Static<typeof OAuthFailure>;

const KeySet = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.String(),
      crv: Type.String(),
      x: Type.String(),
      y: Type.String(),
      kid: Type.String(),
      alg: Type.String(),
      use: Type.String(),
    }),
  ),
});

const EXAMPLE = {
  client_id: "4f0c1d2e3b4a59687786950413223140",
  client_secret: "pJ6mZ0b1r6fYx3a0VqU2h8sT5wE9kC7dLnQ4gR1uXyM",
  audience: "service",
  grant_type: "client_credentials",
};

const EXAMPLE_ANSWER = {
  access_token: "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ii4uLiJ9...",
  token_type: "Bearer",
  expires_in: 86_400,
  scope: "service",
};

function answer(description: string, schema: object, example: object) {
  return { description, content: { [JSON_TYPE]: { schema, example } } };
}

function failure(description: string, error: string) {
  return answer(description, OAuthFailure, { error, error_description: description });
}

const TOKEN_SCHEMA = {
  tags: ["tokens"],
  description:
    "Exchanges a client id and secret for a bearer token (RFC 6749 section 4.4). Credentials go into the body or " +
    "into HTTP Basic. Any other method is a 405 with `Allow: POST`.",
  security: [],
  body: {
    content: {
      [FORM]: { schema: { ...TokenRequestBody, examples: [EXAMPLE] } },
      [JSON_TYPE]: { schema: { ...TokenRequestBody, examples: [EXAMPLE] } },
    },
  },
  response: {
    200: answer("A bearer token.", TokenAnswer, EXAMPLE_ANSWER),
    400: failure("The request is malformed, or asks for what the client may not have.", "invalid_request"),
    401: failure("The client is unknown or its credentials are wrong.", "invalid_client"),
    413: failure("The body is too large.", "invalid_request"),
    503: failure("Clients cannot be checked at the moment.", "temporarily_unavailable"),
  },
};

/** One endpoint under two names: each is an operation of its own in the document. */
const OPERATION: Readonly<Record<string, { operationId: string; summary: string }>> = {
  [TOKEN_PATH]: { operationId: "getToken", summary: "Get an access token" },
  [ALIAS_PATH]: {
    operationId: "getOrganizationsToken",
    summary: "Get an access token (another name of /oauth/token)",
  },
};

const JWKS_SCHEMA = {
  operationId: "getKeys",
  tags: ["tokens"],
  summary: "List the public keys of access tokens",
  description:
    "The keys that access tokens are signed with (RFC 7517), for those who verify tokens themselves.",
  security: [],
  response: {
    200: {
      description: "A JSON Web Key Set.",
      content: { "application/jwk-set+json": { schema: KeySet } },
    },
  },
};

/**
 * The OAuth routes: `/oauth/token`, its alias, and `/oauth/jwks`. Bodies, errors and validation are a scope of
 * their own here, since RFC 6749 says how each looks; the schemas only document.
 */
export const oauthPlugin = fp<OAuthOptions>(
  async (app: FastifyInstance, options: OAuthOptions) => {
    await app.register(async (scope) => {
      readBodies(scope);
      scope.setValidatorCompiler(() => () => true);
      scope.setSerializerCompiler(() => JSON.stringify);
      scope.setErrorHandler(sendFailure);
      for (const path of [TOKEN_PATH, ALIAS_PATH]) addTokenRoutes(scope, path, options);
      addKeyRoute(scope, options.keys);
    });
  },
  { name: "oauth", fastify: "5.x", dependencies: ["guard"] },
);

function readBodies(scope: FastifyInstance): void {
  const options = { parseAs: "buffer", bodyLimit: BODY_LIMIT } as const;
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser(FORM, options, reading(parseForm));
  scope.addContentTypeParser(JSON_TYPE, options, reading(parseJson));
  const refuse = (): never => {
    throw new OAuthError("invalid_request", `the body must be ${FORM} or ${JSON_TYPE}`);
  };
  scope.addContentTypeParser("*", options, reading(refuse));
}

/** With a callback: what is there already takes no turn of the event loop. */
function reading(parse: (body: Uint8Array) => TokenParameters) {
  return (
    _request: FastifyRequest,
    body: Buffer,
    done: (error: Error | null, value?: unknown) => void,
  ): void => {
    try {
      done(null, parse(body));
    } catch (error) {
      done(error as Error);
    }
  };
}

function addTokenRoutes(scope: FastifyInstance, path: string, { tokens }: OAuthOptions): void {
  const config = { public: true } as const;
  scope.post<{ Body: TokenParameters | undefined }>(
    path,
    { config, schema: { ...TOKEN_SCHEMA, ...OPERATION[path] }, onRequest: forgetQuery },
    (request, reply) => {
      const answerOn = tokens.accept(request.body ?? {}, request.raw);
      forbidStoring(reply);
      // The provider writes to the raw response; what plugins have set (CORS) must be there before.
      for (const [name, value] of Object.entries(reply.getHeaders())) {
        if (value !== undefined) reply.raw.setHeader(name, value);
      }
      reply.hijack();
      answerOn(reply.raw);
    },
  );
  scope.route({
    method: ["GET", "PUT", "PATCH", "DELETE"],
    url: path,
    config,
    schema: { hide: true },
    onRequest: [forgetQuery, refuseMethod],
    handler: refuseMethod,
  });
}

function addKeyRoute(scope: FastifyInstance, keys: SigningKeys): void {
  scope.get("/oauth/jwks", { config: { public: true }, schema: JWKS_SCHEMA }, (_request, reply) =>
    reply
      .header("cache-control", `public, max-age=${JWKS_MAX_AGE_S}`)
      .type("application/jwk-set+json")
      .send(keys.jwks),
  );
}

/** Credentials do not belong into a URL (RFC 6749 section 2.3.1); those of who sends them there stay out of logs. */
function forgetQuery({ raw }: FastifyRequest, _reply: FastifyReply, done: () => void): void {
  const query = raw.url?.indexOf("?") ?? -1;
  if (query !== -1) raw.url = raw.url?.slice(0, query);
  done();
}

/** Before any body is read: what it says makes no difference. */
async function refuseMethod(_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  forbidStoring(reply);
  return reply
    .code(405)
    .header("allow", "POST")
    .send(describe("invalid_request", "tokens are got with POST"));
}

/** RFC 6749 section 5.1. */
function forbidStoring(reply: FastifyReply): void {
  reply.header("cache-control", "no-store").header("pragma", "no-cache");
}

function describe(error: string, error_description: string): OAuthFailure {
  return { error, error_description };
}

/** Failures that come before the provider: bad bodies and missing parameters (RFC 6749 section 5.2). */
function sendFailure(
  error: FastifyError | OAuthError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  forbidStoring(reply);
  if (error instanceof OAuthError) {
    if (error.status === 401) reply.header("www-authenticate", 'Basic realm="gatehouse", charset="UTF-8"');
    return reply.code(error.status).send(describe(error.code, error.message));
  }
  const status = error.statusCode ?? 500;
  if (status >= 500) {
    request.log.error({ err: error }, "request failed");
    return reply.code(500).send(describe("server_error", "Internal server error"));
  }
  return reply.code(status === 413 ? 413 : 400).send(describe("invalid_request", error.message));
}
