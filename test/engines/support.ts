import { randomUUID } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll } from "vitest";
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

/** A region of the test file's own, in a folder that users of places can enter; everything of it ends with the file. */
export async function createRegion(): Promise<TestRegion> {
  const root = await mkdtemp("/tmp/gatehouse-region-");
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
