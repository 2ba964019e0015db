import type { AddressInfo } from "node:net";
import { openAccess } from "../../src/access.js";
import { buildServices, limitsOf } from "../../src/api.js";
import { buildApp } from "../../src/app.js";
import { API_KEY_PREFIX } from "../../src/auth/api-keys.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { createClient } from "../../src/auth/clients.js";
import { ALL_SCOPES } from "../../src/auth/scopes.js";
import { loadConfig } from "../../src/config.js";
import { Waiters } from "../../src/operations/waiters.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { growHeapSparingly } from "../../src/platform/heap.js";
import { newId, newSecret } from "../../src/platform/ids.js";
import { createLogger } from "../../src/platform/logger.js";
import { openRuntime } from "../../src/runtime.js";
import { VERSION } from "../../src/version.js";
import { serve } from "./child.js";

// The whole api as `startApi` puts it together, with its log, its limits (on, too high to be reached) and its access
// log, and two routes more that answer the same: one guarded, one open.
const PUBLIC_URL = "https://bench.example";
const SECRET = "a-secret-of-forty-three-characters-in-length";
const CLIENTS = Number(process.env["BENCH_CLIENTS"] ?? "1");
const UNREACHABLE = "10000000";

growHeapSparingly();

const config = loadConfig(
  {
    PUBLIC_URL,
    RATE_LIMIT_REQUESTS: UNREACHABLE,
    RATE_LIMIT_TOKENS_PER_CLIENT: UNREACHABLE,
    RATE_LIMIT_TOKENS_PER_ADDRESS: UNREACHABLE,
  },
  process.cwd(),
);
const logger = createLogger("info", "api", "/dev/null");
const masterKey = new MasterKey(MasterKey.generate());
const runtime = await openRuntime(config, process.env["BENCH_DATABASE_URL"] ?? "", masterKey, logger);
const { prisma, db, signals } = runtime;
await addClients();

const access = await openAccess(runtime);
const app = await buildApp({
  version: VERSION,
  ...{ logger, metrics: runtime.metrics, tracer: null },
  corsOrigins: config.corsOrigins,
  trustProxy: [],
  services: buildServices(runtime, new Waiters(db, signals), access),
  access,
  limits: limitsOf(config),
});
const answer = { id: "0190a3f0-6f2e-7c55-9d4b-2f6f1c1f7a10", name: "a thing", state: "RUNNING" };
app.get("/guarded", { config: { scopes: ["job:read"] } }, async () => answer);
app.get("/open", { config: { public: true } }, async () => answer);
await app.listen({ port: 0, host: "127.0.0.1" });

const { port } = app.server.address() as AddressInfo;
serve({
  url: `http://127.0.0.1:${port}`,
  forms: Array.from({ length: CLIENTS }, (_, index) => form(index)),
  keys: await addKeys(),
});

/** As many API keys as clients. */
async function addKeys(): Promise<string[]> {
  const { id: organizationId } = await prisma.organization.findFirstOrThrow();
  const keys = Array.from({ length: CLIENTS }, () => `${API_KEY_PREFIX}${newSecret()}`);
  await prisma.apiKey.createMany({
    data: keys.map((key, index) => ({
      ...{ id: newId(), organizationId, key: `bench-${index}`, name: "bench", prefix: key.slice(0, 10) },
      ...{ hash: masterKey.hash("api-keys", key), keyId: masterKey.id, createdBy: "bench" },
      ...{ scopes: ["job:read"], allProjects: true },
    })),
  });
  return keys;
}

async function addClients(): Promise<void> {
  await bootstrap(prisma, masterKey, { clientId: "bench-0", clientSecret: SECRET });
  const { id: organizationId } = await prisma.organization.findFirstOrThrow();
  const common = { organizationId, name: "bench", scopes: new Set(ALL_SCOPES), projects: "all" } as const;
  for (let index = 1; index < CLIENTS; index += 1) {
    const credentials = { clientId: `bench-${index}`, clientSecret: SECRET };
    await prisma.$transaction((tx) => createClient(tx, masterKey, { ...common, ...credentials }));
  }
}

function form(index: number): string {
  return new URLSearchParams({
    grant_type: "client_credentials",
    client_id: `bench-${index}`,
    client_secret: SECRET,
    audience: "default",
    scope: "service production:destructive platform:admin",
  }).toString();
}
