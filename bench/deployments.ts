import { run as creation } from "./deployments/creation.js";
import { run as graph } from "./deployments/graph.js";
import { run as many } from "./deployments/many.js";
import { run as plainSql } from "./deployments/plain-sql.js";
import { type BenchResult, print } from "./support/report.js";

const OPTIONS = { rounds: 5, mib: 1_024, databases: 50, requests: 100, quietSeconds: 60 };

/** Databases: real servers below an installation as it is used, one after the other. */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  const { rounds, mib, databases, requests, quietSeconds } = { ...OPTIONS, ...given };
  return [
    ...(await creation({ rounds })),
    ...(await graph({ rounds, mib })),
    ...(await plainSql({ mib })),
    ...(await many({ rounds, databases, requests, quietSeconds })),
  ];
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
