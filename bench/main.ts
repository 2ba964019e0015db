/**
 * npm run bench [name...] [-- --quick]
 *
 * Runs the named benchmarks, or all of them, one after the other; prints each as a table and as a line of JSON.
 * `--quick` only shows that they work: its numbers mean nothing. Ends with 1 where a target was missed.
 */
import { type BenchResult, print } from "./support/report.js";

interface Bench {
  run(options?: object): Promise<BenchResult | readonly BenchResult[]>;
}

const BENCHES: Readonly<Record<string, { load: () => Promise<Bench>; quick: object }>> = {
  tokens: { load: () => import("./tokens.js"), quick: { rounds: 1, seconds: 1 } },
  guard: { load: () => import("./guard.js"), quick: { rounds: 1, seconds: 1 } },
  keys: { load: () => import("./keys.js"), quick: { rounds: 1, seconds: 1 } },
  dispatch: { load: () => import("./dispatch.js"), quick: { rounds: 1, samples: 10 } },
  operations: { load: () => import("./operations.js"), quick: { rounds: 1, count: 200 } },
  polling: { load: () => import("./polling.js"), quick: { rounds: 1, seconds: 1 } },
  waiting: { load: () => import("./waiting.js"), quick: { rounds: 1, many: 200, few: 20 } },
  million: { load: () => import("./million.js"), quick: { rounds: 1, seconds: 1, many: 20_000, few: 1_000 } },
  deployments: {
    load: () => import("./deployments.js"),
    quick: { rounds: 1, mib: 16, databases: 4, requests: 10, quietSeconds: 2 },
  },
  copy: { load: () => import("./copy.js"), quick: { rounds: 1, rows: 20_000 } },
};

async function main(args: readonly string[]): Promise<number> {
  const names = args.filter((arg) => !arg.startsWith("--"));
  const unknown = [
    ...names.filter((name) => !Object.hasOwn(BENCHES, name)),
    ...args.filter((arg) => arg.startsWith("--") && arg !== "--quick"),
  ];
  if (unknown.length > 0) {
    console.error(
      `unknown: ${unknown.join(", ")}\nusage: npm run bench [${Object.keys(BENCHES).join("|")}]... [-- --quick]`,
    );
    return 64;
  }
  let missed = 0;
  for (const [name, { load, quick }] of Object.entries(BENCHES)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const { run } = await load();
    for (const result of [await run(args.includes("--quick") ? quick : {})].flat()) {
      print(result);
      if (!result.passed) missed += 1;
    }
  }
  return missed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
