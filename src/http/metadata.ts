import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { Type } from "typebox";
import { ASSERTION_ALGORITHMS, CLIENT_AUTH_METHODS } from "../auth/client-authentication.js";
import { DPOP_ALGORITHMS } from "../auth/dpop.js";
import { TOKEN_GRANT_TYPES } from "../auth/grant-types.js";
import { ALL_SCOPES, SERVICE } from "../auth/scopes.js";
import { TOKEN_PATH } from "../auth/token-request.js";
import { INTROSPECTION_PATH, JWKS_PATH, REVOCATION_PATH } from "./oauth-schemas.js";

export interface MetadataOptions {
  /** The issuer; what is below it is the protected resource. */
  readonly publicUrl: string;
}

const SERVER = "/.well-known/oauth-authorization-server";
const RESOURCE = "/.well-known/oauth-protected-resource";
/** What of the public URL is the protected resource: an audience that is built in (auth/resource-servers.ts). */
const RESOURCE_PATH = "/api/";
const MAX_AGE_S = 300;

const Names = Type.Array(Type.String());

const ServerMetadata = Type.Object({
  issuer: Type.String(),
  token_endpoint: Type.String(),
  introspection_endpoint: Type.String(),
  revocation_endpoint: Type.String(),
  jwks_uri: Type.String(),
  scopes_supported: Names,
  grant_types_supported: Names,
  response_types_supported: Names,
  token_endpoint_auth_methods_supported: Names,
  token_endpoint_auth_signing_alg_values_supported: Names,
  introspection_endpoint_auth_methods_supported: Names,
  introspection_endpoint_auth_signing_alg_values_supported: Names,
  revocation_endpoint_auth_methods_supported: Names,
  revocation_endpoint_auth_signing_alg_values_supported: Names,
  dpop_signing_alg_values_supported: Names,
  protected_resources: Names,
});

const ResourceMetadata = Type.Object({
  resource: Type.String(),
  resource_name: Type.String(),
  authorization_servers: Names,
  scopes_supported: Names,
  bearer_methods_supported: Names,
  dpop_signing_alg_values_supported: Names,
  dpop_bound_access_tokens_required: Type.Boolean(),
});

/** Every scope that may be asked for, and the name of them all. */
const SCOPES = [SERVICE, ...ALL_SCOPES];

/** What clients need to know of this authorization server (RFC 8414 section 2): what is said here is so. */
function serverMetadata(publicUrl: string) {
  const methods = [...CLIENT_AUTH_METHODS];
  const algorithms = [...ASSERTION_ALGORITHMS];
  return {
    issuer: publicUrl,
    token_endpoint: publicUrl + TOKEN_PATH,
    introspection_endpoint: publicUrl + INTROSPECTION_PATH,
    revocation_endpoint: publicUrl + REVOCATION_PATH,
    jwks_uri: publicUrl + JWKS_PATH,
    scopes_supported: SCOPES,
    grant_types_supported: [...TOKEN_GRANT_TYPES],
    // There is no authorization endpoint.
    response_types_supported: [],
    token_endpoint_auth_methods_supported: methods,
    token_endpoint_auth_signing_alg_values_supported: algorithms,
    introspection_endpoint_auth_methods_supported: methods,
    introspection_endpoint_auth_signing_alg_values_supported: algorithms,
    revocation_endpoint_auth_methods_supported: methods,
    revocation_endpoint_auth_signing_alg_values_supported: algorithms,
    dpop_signing_alg_values_supported: [...DPOP_ALGORITHMS],
    protected_resources: [publicUrl + RESOURCE_PATH],
  };
}

/** What clients need to know to call the api (RFC 9728 section 2). */
function resourceMetadata(publicUrl: string) {
  return {
    resource: publicUrl + RESOURCE_PATH,
    resource_name: "Gatehouse",
    authorization_servers: [publicUrl],
    scopes_supported: SCOPES,
    bearer_methods_supported: ["header"],
    dpop_signing_alg_values_supported: [...DPOP_ALGORITHMS],
    dpop_bound_access_tokens_required: false,
  };
}

/** Where the metadata of the protected resource is (RFC 9728 section 3.1): between host and path. */
export function resourceMetadataUrl(publicUrl: string): string {
  const { origin, pathname } = new URL(publicUrl);
  return `${origin}${RESOURCE}${pathname.replace(/\/$/, "")}${RESOURCE_PATH}`;
}

/**
 * The metadata of the authorization server and of the resource that it protects, at the paths that the RFCs derive
 * from the public URL and, for who knows the host alone, at the bare ones.
 */
export const metadataPlugin = fp<MetadataOptions>(
  async (app: FastifyInstance, { publicUrl }: MetadataOptions) => {
    const below = new URL(publicUrl).pathname.replace(/\/$/, "");
    addDocument(app, [SERVER, SERVER + below], serverMetadata(publicUrl), {
      operationId: "getServerMetadata",
      summary: "Describe the authorization server",
      description: "Where tokens are got, and how (RFC 8414).",
      schema: ServerMetadata,
    });
    addDocument(
      app,
      [RESOURCE, new URL(resourceMetadataUrl(publicUrl)).pathname],
      resourceMetadata(publicUrl),
      {
        operationId: "getResourceMetadata",
        summary: "Describe the protected resource",
        description: "Which authorization server issues its tokens, and how they are sent (RFC 9728).",
        schema: ResourceMetadata,
      },
    );
  },
  { name: "metadata", fastify: "5.x" },
);

interface Description {
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  readonly schema: object;
}

function addDocument(
  app: FastifyInstance,
  paths: readonly string[],
  content: object,
  { schema, ...operation }: Description,
): void {
  const json = JSON.stringify(content);
  for (const [index, path] of [...new Set(paths)].entries()) {
    const response = {
      200: {
        description: "The metadata.",
        content: { "application/json": { schema, example: content } },
      },
    };
    app.get(
      path,
      {
        config: { public: true },
        // One operation in the document: the other paths are the same.
        schema: index === 0 ? { ...operation, tags: ["tokens"], security: [], response } : { hide: true },
      },
      (_request, reply) =>
        reply
          .header("cache-control", `public, max-age=${MAX_AGE_S}`)
          .type("application/json")
          .serializer((text: string) => text)
          .send(json),
    );
  }
}
