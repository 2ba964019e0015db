import { randomBytes, randomUUID } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, describe } from "vitest";
import type {
  Credentials,
  Engine,
  EngineContext,
  Instance,
  Observed,
  PlanLimits,
} from "../../src/engines/engine.js";
import { createProcessSubstrate } from "../../src/engines/process/substrate.js";
import type { Place, PlaceLimits, PlaceSpec, Substrate } from "../../src/engines/substrate.js";

export const MIB = 1024 * 1024;
export const LIMITS: PlaceLimits = { memoryBytes: 256 * MIB, storageBytes: 1024 * MIB };
/** For calls that nobody aborts. */
export const NEVER = new AbortController().signal;

export interface TestRegion {
  readonly root: string;
  readonly substrate: Substrate;
  /** A new deployment's place, as its first command sees it; removed after the tests of the file. */
  spec(limits?: PlaceLimits): Promise<PlaceSpec>;
}

/**
 * A region of the test file's own, in a folder that users of places can enter; everything of it ends with the file.
 * @param parent where its folder is made
 */
export async function createRegion(parent = "/tmp"): Promise<TestRegion> {
  const root = await mkdtemp(join(parent, "gatehouse-region-"));
  await chmod(root, 0o711);
  const substrate = createProcessSubstrate({ root: join(root, "r") });
  if (substrate.missing !== null) throw new Error(substrate.missing);
  const made: PlaceSpec[] = [];
  afterAll(async () => {
    for (const spec of made) {
      const place = await substrate.open(spec, { command: 1_000_000, attempt: 1 }, NEVER);
      await place.remove(NEVER);
    }
    await rm(root, { recursive: true, force: true });
  });
  return {
    root: join(root, "r"),
    substrate,
    async spec(limits = LIMITS) {
      const spec = { id: randomUUID(), port: await freePort(), limits };
      made.push(spec);
      return spec;
    },
  };
}

/** The place for its command number `command`. */
export function openPlace(region: TestRegion, spec: PlaceSpec, command = 1, attempt = 1): Promise<Place> {
  return region.substrate.open(spec, { command, attempt }, NEVER);
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** A secret of the form that engines take. */
export function secret(): string {
  return randomBytes(24).toString("base64url");
}

/** For calls whose log nobody reads. */
export const context: EngineContext = { signal: NEVER, log: () => {} };

/** Tests of an engine that is not on this machine are left out, and that is said; in CI it must be there. */
export function describeEngine(engine: Engine, tests: () => void): void {
  if (engine.missing === null) {
    describe(`${engine.name} ${engine.versions[0]?.number}`, tests);
    return;
  }
  if (process.env["CI"] === "true") throw new Error(engine.missing);
  console.warn(`${engine.missing}: ${engine.name} is not tested`);
  describe.skip(engine.name, tests);
}

export interface TestDeployment {
  readonly spec: PlaceSpec;
  readonly credentials: Credentials;
  /** As its next command works on it, with what has changed since. */
  next(changes?: Changes): Promise<Instance>;
  look(): Observed;
}

export interface Changes {
  readonly credentials?: Credentials;
  readonly plan?: PlanLimits;
  readonly limits?: PlaceLimits;
  readonly port?: number;
}

/** A deployment of an engine, without a server yet. */
export async function createDeployment(
  region: TestRegion,
  engine: Engine,
  limits: PlaceLimits = LIMITS,
): Promise<TestDeployment> {
  const spec = await region.spec(limits);
  let credentials: Credentials = { username: "customer", password: secret(), adminSecret: secret() };
  let plan: PlanLimits = { connections: 20 };
  let current = spec;
  let command = 0;
  const observed = () => ({ id: spec.id, version: engine.versions[0]?.number ?? "", plan, credentials });
  return {
    spec,
    get credentials() {
      return credentials;
    },
    async next(changes = {}) {
      command += 1;
      credentials = changes.credentials ?? credentials;
      plan = changes.plan ?? plan;
      current = { ...current, limits: changes.limits ?? current.limits, port: changes.port ?? current.port };
      return { ...observed(), place: await region.substrate.open(current, { command, attempt: 1 }, NEVER) };
    },
    look: () => ({ ...observed(), place: region.substrate.look(current) }),
  };
}
