import type { AddressInfo } from "node:net";
import cors from "@fastify/cors";
import Fastify, { type FastifyInstance } from "fastify";
import { pino } from "pino";
import { createAccessRecords } from "../../src/auth/access-records.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { createClient } from "../../src/auth/clients.js";
import { openSigningKeys } from "../../src/auth/keys.js";
import { builtInResourceServers } from "../../src/auth/resource-servers.js";
import { ALL_SCOPES } from "../../src/auth/scopes.js";
import { createTokenEndpoint } from "../../src/auth/token-endpoint.js";
import { TokenVerifier } from "../../src/auth/verifier.js";
import { guardPlugin } from "../../src/http/guard.js";
import { oauthPlugin } from "../../src/http/oauth.js";
import { systemClock } from "../../src/platform/clock.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { createPrisma } from "../../src/platform/prisma.js";
import { Database } from "../../src/platform/sql.js";
import { serve } from "./child.js";

// The part of the api that issues and checks tokens, as app.ts puts it together: logger, CORS, guard, OAuth routes.
const PUBLIC_URL = "https://bench.example";
const SECRET = "a-secret-of-forty-three-characters-in-length";
const CLIENTS = Number(process.env["BENCH_CLIENTS"] ?? "1");

const databaseUrl = process.env["BENCH_DATABASE_URL"] ?? "";
const logger = pino({ level: "info" }, pino.destination({ dest: "/dev/null", sync: false }));
const masterKey = new MasterKey(MasterKey.generate());
const prisma = createPrisma(databaseUrl, 4);
const sql = new Database(databaseUrl, 4, logger);
const deps = { publicUrl: PUBLIC_URL, masterKey, prisma, clock: systemClock, logger };

await bootstrap(prisma, masterKey, { clientId: "bench-0", clientSecret: SECRET });
const { id: organizationId } = await prisma.organization.findFirstOrThrow();
for (let index = 1; index < CLIENTS; index += 1) {
  await prisma.$transaction((tx) =>
    createClient(tx, masterKey, {
      ...{ organizationId, name: "bench", scopes: new Set(ALL_SCOPES), projects: "all" as const },
      ...{ clientId: `bench-${index}`, clientSecret: SECRET },
    }),
  );
}
const keys = await openSigningKeys(deps);
const records = createAccessRecords({ sql, logger });
const resourceServers = builtInResourceServers(PUBLIC_URL);
const verifier = new TokenVerifier({ ...deps, keys, resourceServers });
const tokens = createTokenEndpoint({ ...deps, keys, records, resourceServers });

const app: FastifyInstance = Fastify({ loggerInstance: logger as never, disableRequestLogging: true });
await app.register(cors, { origin: ["http://localhost:8000"], methods: ["GET", "POST"] });
app.addHook("onResponse", (request, reply, done) => {
  const { method, url } = request.routeOptions;
  request.log.info({ method, url, status: reply.statusCode, ms: reply.elapsedTime }, "request");
  done();
});
await app.register(guardPlugin, { verifier, accessRecords: records, clock: systemClock });
await app.register(oauthPlugin, { tokens, keys });
const answer = { id: "0190a3f0-6f2e-7c55-9d4b-2f6f1c1f7a10", name: "a thing", state: "RUNNING" };
app.get("/guarded", { config: { scopes: ["job:read"] } }, async () => answer);
app.get("/open", { config: { public: true } }, async () => answer);
await app.listen({ port: 0, host: "127.0.0.1" });

const { port } = app.server.address() as AddressInfo;
const forms = Array.from({ length: CLIENTS }, (_, index) =>
  new URLSearchParams({
    grant_type: "client_credentials",
    client_id: `bench-${index}`,
    client_secret: SECRET,
    audience: "default",
    scope: "service production:destructive platform:admin",
  }).toString(),
);
serve({ url: `http://127.0.0.1:${port}`, forms });
