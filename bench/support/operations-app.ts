import { createHash, randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import pg from "pg";
import { openAccess } from "../../src/access.js";
import { buildServices, limitsOf } from "../../src/api.js";
import { buildApp } from "../../src/app.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import type { Principal } from "../../src/auth/principal.js";
import { acceptWork, pointersTo } from "../../src/http/accepted.js";
import { acceptedAnswer } from "../../src/http/core-api/operations-commands.js";
import { OperationWire, toOperationWire } from "../../src/http/core-api/wire.js";
import { KeyHold } from "../../src/http/idempotency.js";
import { Ledger } from "../../src/operations/ledger.js";
import type { LocklessRequest } from "../../src/operations/new-operation.js";
import { Waiters } from "../../src/operations/waiters.js";
import { VERSION } from "../../src/version.js";
import { serve } from "./child.js";
import { BENCH_CATALOG, NOOP } from "./noop.js";
import { openBenchRuntime } from "./runtime.js";

// The whole api as `startApi` puts it together, and two routes more: one accepts operations that do nothing, with
// the product's parts; the product's own routes write more with theirs. One is open and answers the same operation, always.
const CALLER = {
  kind: "system",
  id: "bench",
  name: "bench",
  origin: { address: null, requestId: null },
} as const;
const CLIENT = { clientId: "bench", clientSecret: "a-secret-of-forty-three-characters-in-length" };

const runtime = await openBenchRuntime();
const { prisma, db, signals, ledger, logger, metrics, masterKey } = runtime;
await bootstrap(prisma, masterKey, CLIENT);
const project = await prisma.project.findFirstOrThrow();

const access = await openAccess(runtime);
const waiters = new Waiters(db, signals);
const services = buildServices(runtime, waiters, access);
const app = await buildApp({
  ...{ version: VERSION, logger, metrics, tracer: null, services, access },
  corsOrigins: [],
  trustProxy: [],
  limits: limitsOf(runtime.config),
});

function noop({
  kind,
  id,
  name,
  origin,
}: Pick<Principal, "kind" | "id" | "name" | "origin">): LocklessRequest {
  return {
    ...{ organizationId: project.organizationId, projectId: project.id, operationType: NOOP },
    ...{ resource: { type: "nothing", id: randomUUID() }, payload: {}, origin },
    createdBy: { kind, id, name },
  };
}

app.post(
  "/noop",
  { config: { scopes: ["operation:write"], idempotency: "transaction" } },
  async (request, reply) => {
    const operation = await acceptWork(services, request, reply, acceptedAnswer, async (_, keeping) => {
      return ledger.accept(noop(request.principal), keeping);
    });
    return reply.code(202).send(toOperationWire(operation));
  },
);

/**
 * Accepts operations, each under a key of its own, with all that the route above does for it but http: so many at once.
 * @returns seconds
 */
async function acceptAll(count: number, atOnce: number): Promise<number> {
  const { keys } = services.idempotency;
  let left = count;
  const acceptSome = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const id = createHash("sha256").update(randomUUID()).digest();
      if ((await keys.find(id)) !== null) throw new Error("a new key is known");
      const request = { id, requestHash: id, method: "POST", path: "/noop", projects: null };
      const hold = new KeyHold(keys, request, true, () => false);
      await ledger.accept(noop(CALLER), async (operation) => {
        const { status, body } = acceptedAnswer(operation);
        const kept = { status, headers: pointersTo(operation), body: JSON.stringify(body) };
        return () => hold.taking(kept);
      });
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: atOnce }, acceptSome));
  return (performance.now() - began) / 1_000;
}

/** Accepts operations in one transaction and sends none. */
async function preload(count: number): Promise<string[]> {
  const silent = new Ledger(db, { catalog: BENCH_CATALOG });
  return db.transaction(async (tx) => {
    const ids: string[] = [];
    for (let made = 0; made < count; made += 1)
      ids.push((await silent.request(tx, { ...noop(CALLER), locks: [] })).id);
    return ids;
  });
}

const [constant = ""] = await preload(1);
await db.run("UPDATE operations SET status = 'succeeded', finished_at = now() WHERE id = $1", [constant]);
const answer = await ledger.read(constant, { organizationId: project.organizationId, projects: null });
if (answer === null) throw new Error("the constant operation is gone");
const wire = toOperationWire(answer);
app.get(
  "/open",
  { config: { public: true }, schema: { response: { 200: OperationWire } } },
  async () => wire,
);

/** Statements that this process sends, whatever sends them. */
let statements = 0;
const query = pg.Client.prototype.query as (...args: unknown[]) => unknown;
pg.Client.prototype.query = function counted(this: pg.Client, ...args: unknown[]): unknown {
  statements += 1;
  return query.apply(this, args);
} as typeof pg.Client.prototype.query;

await app.listen({ port: 0, host: "127.0.0.1" });
const { port } = app.server.address() as AddressInfo;
serve(
  {
    ...CLIENT,
    url: `http://127.0.0.1:${port}`,
    organizationId: project.organizationId,
    projectId: project.id,
  },
  {
    accept: async (count, atOnce) => ({ seconds: await acceptAll(Number(count), Number(atOnce)) }),
    preload: async (count) => ({ ids: await preload(Number(count)) }),
    load: () => ({ statements, waiting: waiters.count, rss: process.resourceUsage().maxRSS * 1_024 }),
  },
);
