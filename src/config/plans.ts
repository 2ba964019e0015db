/** What a deployment may use. */
export interface Plan {
  readonly id: string;
  readonly description: string;
  /** Of the server, and of its data. */
  readonly memoryBytes: number;
  readonly storageBytes: number;
  /** Clients at once. */
  readonly connections: number;
  /** Snapshots that are kept, the newest; the last one of a terminated deployment stands beside. */
  readonly snapshots: number;
  /** Days that snapshots are kept after the end of their deployment. */
  readonly daysAfterEnd: number;
  /** Engines that it is for; null: all. */
  readonly engines: readonly string[] | null;
}

/** The plan of a name; null where there is none (any more). */
export function findPlan(plans: readonly Plan[], id: string): Plan | null {
  return plans.find((plan) => plan.id === id) ?? null;
}

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

/** The plans of an installation that configures none. */
export const DEFAULT_PLANS: readonly Plan[] = [
  plan("ds1", "256 MiB of memory, 2 GiB of storage", 256 * MIB, 2 * GIB, 50, 3),
  plan("ds2", "1 GiB of memory, 10 GiB of storage", GIB, 10 * GIB, 100, 7),
  plan("ds3", "4 GiB of memory, 40 GiB of storage", 4 * GIB, 40 * GIB, 200, 14),
];

function plan(
  id: string,
  description: string,
  memoryBytes: number,
  storageBytes: number,
  connections: number,
  snapshots: number,
): Plan {
  return {
    ...{ id, description, memoryBytes, storageBytes, connections, snapshots },
    daysAfterEnd: 30,
    engines: null,
  };
}
