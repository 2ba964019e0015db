import { type Static, Type } from "typebox";
import { TOKEN_PATH } from "../auth/token-request.js";

// What the document says of the OAuth routes. Nothing is validated by these: RFC 6749 says how each failure looks.

export const FORM = "application/x-www-form-urlencoded";
export const JSON_TYPE = "application/json";

/** The same endpoint under the name that one of the texts gives it (contracts/core-api.md). */
export const ALIAS_PATH = "/organizations/oauth/token";
export const INTROSPECTION_PATH = "/oauth/introspect";
export const REVOCATION_PATH = "/oauth/revoke";
export const JWKS_PATH = "/oauth/jwks";

const ClientParameters = {
  client_id: Type.Optional(Type.String({ description: "Here or in HTTP Basic." })),
  client_secret: Type.Optional(Type.String({ description: "Here or in HTTP Basic, never in both." })),
  client_assertion: Type.Optional(
    Type.String({
      description: "Instead of a secret: a JWT signed with a key of the client's `jwks` (RFC 7523).",
    }),
  ),
  client_assertion_type: Type.Optional(
    Type.String({ description: "`urn:ietf:params:oauth:client-assertion-type:jwt-bearer`." }),
  ),
};

const IGNORED = "Parameters that are not listed are ignored (RFC 6749 section 3.2).";

const TokenRequestBody = Type.Object(
  {
    grant_type: Type.String({
      description: "`client_credentials`; `password` (deprecated) for clients that are allowed it.",
    }),
    ...ClientParameters,
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
    username: Type.Optional(
      Type.String({ description: "A user name or an e-mail address, for `password`." }),
    ),
    password: Type.Optional(Type.String()),
  },
  { description: IGNORED },
);

const PresentedTokenBody = Type.Object(
  {
    token: Type.String({ description: "An access token." }),
    token_type_hint: Type.Optional(Type.String({ description: "`access_token`: there are no others." })),
    ...ClientParameters,
  },
  { description: IGNORED },
);

const TokenAnswer = Type.Object({
  access_token: Type.String({ description: "A JWT (RFC 9068)." }),
  token_type: Type.Enum(["Bearer", "DPoP"], { description: "`DPoP`: bound to a key (RFC 9449)." }),
  expires_in: Type.Integer({ description: "Seconds." }),
  scope: Type.String({
    description: "Begins with `service` for a client that was granted everything of a tenant.",
  }),
});

const Introspection = Type.Object({
  active: Type.Boolean({
    description:
      "False for tokens that are malformed, expired, revoked, of another organization or of anybody who may not " +
      "use them any more; nothing else is said of those.",
  }),
  scope: Type.Optional(Type.String({ description: "What it may do now." })),
  client_id: Type.Optional(Type.String()),
  username: Type.Optional(Type.String({ description: "Of the person that it stands for (password grant)." })),
  token_type: Type.Optional(Type.Enum(["Bearer", "DPoP"])),
  exp: Type.Optional(Type.Integer()),
  iat: Type.Optional(Type.Integer()),
  sub: Type.Optional(Type.String()),
  aud: Type.Optional(Type.String()),
  iss: Type.Optional(Type.String()),
  jti: Type.Optional(Type.String()),
  cnf: Type.Optional(Type.Object({ jkt: Type.String() }, { description: "RFC 9449 section 6.2." })),
});
export type Introspection = Static<typeof Introspection>;

const OAuthFailure = Type.Object({
  error: Type.String({ description: "RFC 6749 section 5.2." }),
  error_description: Type.Optional(Type.String()),
});
export type OAuthFailure = Static<typeof OAuthFailure>;

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

const CREDENTIALS = {
  client_id: "4f0c1d2e3b4a59687786950413223140",
  client_secret: "pJ6mZ0b1r6fYx3a0VqU2h8sT5wE9kC7dLnQ4gR1uXyM",
};
const EXAMPLE_JWT = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ii4uLiJ9...";
const TOKEN_EXAMPLE = { ...CREDENTIALS, audience: "service", grant_type: "client_credentials" };
const PRESENTED_EXAMPLE = { ...CREDENTIALS, token: EXAMPLE_JWT };

function answer(description: string, schema: object, example: object) {
  return { description, content: { [JSON_TYPE]: { schema, example } } };
}

function failure(description: string, error: string) {
  return answer(description, OAuthFailure, { error, error_description: description });
}

function bodyOf(schema: object, example: object) {
  return {
    content: {
      [FORM]: { schema: { ...schema, examples: [example] } },
      [JSON_TYPE]: { schema: { ...schema, examples: [example] } },
    },
  };
}

const FAILURES = {
  401: failure("The client is unknown or its credentials are wrong.", "invalid_client"),
  413: failure("The body is too large.", "invalid_request"),
  429: failure(
    "Too many requests of this client or address, or too many failed ones.",
    "temporarily_unavailable",
  ),
  503: failure("Clients cannot be checked at the moment.", "temporarily_unavailable"),
};

export const TOKEN_SCHEMA = {
  tags: ["tokens"],
  description:
    "Exchanges a client id and secret for a bearer token (RFC 6749 section 4.4). Credentials go into the body or " +
    "into HTTP Basic, or the client signs an assertion with its own key. With a proof in the header `DPoP` the " +
    "token is bound to the key of that proof (RFC 9449); its `htu` is `<PUBLIC_URL>/oauth/token`, whichever of the " +
    "two paths is called. Any other method is a 405 with `Allow: POST`.",
  security: [],
  body: bodyOf(TokenRequestBody, TOKEN_EXAMPLE),
  response: {
    200: answer("An access token.", TokenAnswer, {
      access_token: EXAMPLE_JWT,
      ...{ token_type: "Bearer", expires_in: 86_400, scope: "service" },
    }),
    400: failure("The request is malformed, or asks for what the client may not have.", "invalid_request"),
    ...FAILURES,
  },
};

/** One endpoint under two names: each is an operation of its own in the document. */
export const TOKEN_OPERATION: Readonly<Record<string, { operationId: string; summary: string }>> = {
  [TOKEN_PATH]: { operationId: "getToken", summary: "Get an access token" },
  [ALIAS_PATH]: {
    operationId: "getOrganizationsToken",
    summary: "Get an access token (another name of /oauth/token)",
  },
};

export const INTROSPECTION_SCHEMA = {
  operationId: "introspectToken",
  tags: ["tokens"],
  summary: "Say what an access token is worth",
  description:
    "Tells a client whether a token of its organization is good now, and what it may do (RFC 7662). The client " +
    "authenticates as at `/oauth/token`.",
  security: [],
  body: bodyOf(PresentedTokenBody, PRESENTED_EXAMPLE),
  response: {
    200: answer("What it is worth.", Introspection, {
      ...{ active: true, scope: "job:read", client_id: CREDENTIALS.client_id, token_type: "Bearer" },
      ...{ exp: 1_900_003_600, iat: 1_900_000_000, sub: CREDENTIALS.client_id },
      ...{ aud: "urn:gatehouse:default", iss: "http://localhost:8080", jti: "Xq3…" },
    }),
    400: failure("The request is malformed.", "invalid_request"),
    ...FAILURES,
  },
};

export const REVOCATION_SCHEMA = {
  operationId: "revokeToken",
  tags: ["tokens"],
  summary: "Take an access token back",
  description:
    "From now on the token is refused, everywhere within a second (RFC 7009). A client may take back its own " +
    "tokens; with `client:write`, any of its organization. The client authenticates as at `/oauth/token`.",
  security: [],
  body: bodyOf(PresentedTokenBody, PRESENTED_EXAMPLE),
  response: {
    200: answer("It is worth nothing now, or never was.", Type.Object({}), {}),
    400: failure("The request is malformed, or the token is another client's.", "unauthorized_client"),
    ...FAILURES,
  },
};

export const JWKS_SCHEMA = {
  operationId: "getKeys",
  tags: ["tokens"],
  summary: "List the public keys of access tokens",
  description:
    "The keys that access tokens are signed with (RFC 7517), for those who verify tokens themselves. A new key " +
    "stands here for minutes before it signs; look again for a `kid` that is not known.",
  security: [],
  response: {
    200: {
      description: "A JSON Web Key Set.",
      content: { "application/jwk-set+json": { schema: KeySet } },
    },
  },
};
