import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import Provider, { type JWK } from "oidc-provider";
import { serve } from "./child.js";

// The authorization server as it comes: on node:http, with its own storage in memory, and the same features as
// ours (JWT access tokens under ES256, resource indicators, client_credentials).
const RESOURCE = "urn:bench:resource";
const SCOPE = "service production:destructive platform:admin";

const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }) as JWK;
const provider = new Provider("https://bench.example", {
  clients: [
    {
      client_id: "bench",
      client_secret: "a-secret-of-forty-three-characters-in-length",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
  ],
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  jwks: { keys: [{ ...key, kid: "bench", use: "sig", alg: "ES256" }] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      getResourceServerInfo: () => ({
        scope: SCOPE,
        audience: RESOURCE,
        accessTokenTTL: 3_600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
  ttl: { ClientCredentials: 3_600 },
});

const server = createServer(provider.callback());
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  const form = new URLSearchParams({
    grant_type: "client_credentials",
    client_id: "bench",
    client_secret: "a-secret-of-forty-three-characters-in-length",
    resource: RESOURCE,
    scope: SCOPE,
  });
  serve({ url: `http://127.0.0.1:${port}/token`, form: form.toString() });
});
