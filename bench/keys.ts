import { startServer } from "./support/child.js";
import { createBenchDatabase } from "./support/database.js";
import { interleave } from "./support/load.js";
import { type BenchResult, compare, print } from "./support/report.js";

const KEYS = 200;
const OPTIONS = { rounds: 15, seconds: 2, connections: 32 };

/** Requests per second of a guarded route, 200 API keys in use, against the same route open. */
export async function run(options: Partial<typeof OPTIONS> = {}): Promise<BenchResult> {
  const database = await createBenchDatabase();
  const server = await startServer("auth-app", {
    BENCH_DATABASE_URL: database.url,
    BENCH_CLIENTS: String(KEYS),
  });
  try {
    const origin = String(server.ready["url"]);
    const keys = server.ready["keys"] as string[];
    const requests = keys.map((key) => ({ headers: { authorization: `Bearer ${key}` } }));
    const { sides, note } = await interleave(
      [
        { name: "guarded", server, url: `${origin}/guarded`, requests },
        { name: "open", server, url: `${origin}/open`, requests },
      ],
      { ...OPTIONS, ...options },
    );
    return compare({ name: "keys", unit: "requests/s", sides, target: 0.7, notes: [note] });
  } finally {
    await server.stop();
    await database.drop();
  }
}

if (process.argv[1] === import.meta.filename) print(await run());
