import type { AddressInfo } from "node:net";
import cors from "@fastify/cors";
import Fastify, { type FastifyInstance } from "fastify";
import { pino } from "pino";
import { openAccess } from "../../src/access.js";
import { limitsOf } from "../../src/api.js";
import { guardOptions } from "../../src/app.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { createClient } from "../../src/auth/clients.js";
import { ALL_SCOPES } from "../../src/auth/scopes.js";
import { loadConfig } from "../../src/config.js";
import { guardPlugin } from "../../src/http/guard.js";
import { oauthPlugin } from "../../src/http/oauth.js";
import { rateLimitPlugin } from "../../src/http/rate-limit.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { createPrisma } from "../../src/platform/prisma.js";
import { PostgresSignals } from "../../src/platform/signals.js";
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
// The limits are on, and too high to be reached.
const unreachable = "10000000";
const config = loadConfig(
  {
    PUBLIC_URL,
    RATE_LIMIT_REQUESTS: unreachable,
    RATE_LIMIT_TOKENS_PER_CLIENT: unreachable,
    RATE_LIMIT_TOKENS_PER_ADDRESS: unreachable,
  },
  process.cwd(),
);
const signals = await new PostgresSignals(databaseUrl, sql.pool, logger).open();
const access = await openAccess({ config, logger, prisma, db: sql, signals, masterKey });

const app: FastifyInstance = Fastify({
  logger: { level: "info", stream: pino.destination({ dest: "/dev/null", sync: false }) },
  disableRequestLogging: true,
});
await app.register(cors, { origin: ["http://localhost:8000"], methods: ["GET", "POST"] });
app.addHook("onResponse", (request, reply, done) => {
  const { method, url } = request.routeOptions;
  request.log.info({ method, url, status: reply.statusCode, ms: reply.elapsedTime }, "request");
  done();
});
const limits = limitsOf(config);
await app.register(
  guardPlugin,
  guardOptions(access, limits, async () => null),
);
await app.register(rateLimitPlugin, {
  requests: limits.requestsPerPrincipal,
  local: access.localCounters,
  clock: access.clock,
});
await app.register(oauthPlugin, access);
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
