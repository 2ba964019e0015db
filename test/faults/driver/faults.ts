import { setTimeout as delay } from "node:timers/promises";
import type { Member } from "./member.js";
import type { Random } from "./random.js";
import { CONTROL, type Site } from "./site.js";
import type { TcpProxy } from "./tcp-proxy.js";

/** Something that goes wrong. */
export interface Fault {
  readonly name: string;
  readonly weight: number;
  /** Only where the queue is on Redis. */
  readonly redis?: true;
  /** Does the harm, and mends what does not mend itself. Says whether there was anything to harm. */
  strike(site: Site, random: Random): Promise<boolean>;
}

/** Longer than a lease, which is 6 s. */
const PAST_LEASE_MS = [6_500, 9_000] as const;
/** Short enough for a client to wait it out. */
const AWAY_MS = [0, 3_000] as const;

function one(site: Site, role: "api" | "worker", random: Random): Member {
  return random.pick(site.members.filter((member) => member.role === role));
}

/** Nothing is promised of one that is not ready. */
async function stop(member: Member): Promise<boolean> {
  return member.isReady && member.stop();
}

async function pause(member: Member, ms: number): Promise<boolean> {
  const goOn = member.pause();
  if (goOn === null) return false;
  await delay(ms);
  goOn();
  return true;
}

async function stall(proxy: TcpProxy, ms: number): Promise<boolean> {
  const held = proxy.stall();
  await delay(ms);
  proxy.flow();
  return held > 0;
}

export const FAULTS: readonly Fault[] = [
  {
    name: "kill -9 api",
    weight: 3,
    strike: async (site, random) => one(site, "api", random).kill(),
  },
  {
    name: "kill -9 worker",
    weight: 4,
    strike: async (site, random) => one(site, "worker", random).kill(),
  },
  {
    name: "stop worker past its lease",
    weight: 3,
    strike: (site, random) => pause(one(site, "worker", random), random.int(...PAST_LEASE_MS)),
  },
  {
    name: "stop api for a while",
    weight: 2,
    strike: (site, random) => pause(one(site, "api", random), random.int(1_000, 8_000)),
  },
  {
    name: "SIGTERM worker",
    weight: 1,
    strike: (site, random) => stop(one(site, "worker", random)),
  },
  {
    name: "SIGTERM api",
    weight: 1,
    strike: (site, random) => stop(one(site, "api", random)),
  },
  {
    name: "kill -9 PostgreSQL",
    weight: 1.5,
    strike: async ({ server }, random) => {
      const ran = await server.kill();
      await delay(random.int(...AWAY_MS));
      await server.start();
      return ran;
    },
  },
  {
    name: "end database sessions",
    weight: 2,
    strike: async ({ server }, random) => {
      const share = random.pick([0.2, 1]);
      const ended = await server
        .query(
          CONTROL,
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < $1",
          [share],
        )
        .catch(unlessAway);
      return ended.length > 0;
    },
  },
  {
    name: "cut a process off its database",
    weight: 3,
    strike: async ({ members }, random) => random.pick(members).database.cut() > 0,
  },
  {
    name: "silence between a process and its database",
    weight: 2,
    strike: ({ members }, random) => stall(random.pick(members).database, random.int(1_000, 10_000)),
  },
  {
    name: "cut the stores",
    weight: 3,
    strike: async ({ storeProxy }) => storeProxy.cut() > 0,
  },
  {
    name: "cut clients off",
    weight: 3,
    strike: async (site, random) => (one(site, "api", random).front?.cut() ?? 0) > 0,
  },
  {
    name: "kill -9 Redis, with all its data",
    weight: 2,
    redis: true,
    strike: async ({ redis }, random) => {
      const ran = await redis?.signal("SIGKILL");
      await delay(random.int(...AWAY_MS));
      await redis?.start();
      return ran === true;
    },
  },
  {
    name: "stop Redis for a while",
    weight: 1,
    redis: true,
    strike: async ({ redis }, random) => {
      const ran = await redis?.signal("SIGSTOP");
      await delay(random.int(500, 5_000));
      await redis?.signal("SIGCONT");
      return ran === true;
    },
  },
  {
    name: "wipe Redis",
    weight: 1,
    redis: true,
    strike: async ({ redis }) => (await redis?.command("FLUSHALL").catch(unlessAway)) === "OK",
  },
  {
    name: "cut Redis off",
    weight: 2,
    redis: true,
    strike: async ({ redisProxy }) => (redisProxy?.cut() ?? 0) > 0,
  },
];

/** Another fault has taken the server away at the same time. */
function unlessAway(error: unknown): never[] {
  const { code = "" } = error as { code?: string };
  if (/^(ECONN|57P|EPIPE)/.test(code) || /terminated|Connection is closed/.test(String(error))) return [];
  throw error;
}

/**
 * Lets things go wrong for a while: every kind in a random order, once more where it has met nothing, then whichever. Some
 * faults last, so that others come on top. Those that met something are counted. Resolves when all is mended that does not mend itself.
 */
export async function strikeFor(site: Site, random: Random, forMs: number): Promise<void> {
  const until = performance.now() + forMs;
  const possible = FAULTS.filter(({ redis }) => redis !== true || site.redis !== null);
  const first = random.shuffled(possible);
  // Each one gets its share of the time.
  const pauseMs = forMs / (possible.length + 4);
  const going = new Map<string, Promise<void>>();
  while (performance.now() < until) {
    const fault = first.pop() ?? random.weighted(possible);
    // One of a kind at a time: who mends the first would mend the second too early.
    if (!going.has(fault.name)) {
      const over = fault
        .strike(site, random.fork())
        // What has met nothing gets another turn.
        .then((made) => void (made ? site.faults.add(fault.name) : first.unshift(fault)))
        .catch((error: unknown) => site.findings.add(`the fault "${fault.name}" has failed: ${error}`))
        .finally(() => going.delete(fault.name));
      going.set(fault.name, over);
    }
    await delay(random.int(pauseMs * 0.3, pauseMs * 1.7));
  }
  await Promise.all(going.values());
}
