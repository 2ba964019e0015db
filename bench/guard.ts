import { startServer } from "./support/child.js";
import { createBenchDatabase } from "./support/database.js";
import { interleave } from "./support/load.js";
import { type BenchResult, compare, print } from "./support/report.js";

const CLIENTS = 200;
const OPTIONS = { rounds: 15, seconds: 2, connections: 32 };

/** Requests per second of a guarded route, 200 tokens of 200 clients in use, against the same route open. */
export async function run(options: Partial<typeof OPTIONS> = {}): Promise<BenchResult> {
  const database = await createBenchDatabase();
  const server = await startServer("auth-app", {
    BENCH_DATABASE_URL: database.url,
    BENCH_CLIENTS: String(CLIENTS),
  });
  try {
    const origin = String(server.ready["url"]);
    const tokens = await Promise.all(
      (server.ready["forms"] as string[]).map((form) => fetchToken(origin, form)),
    );
    // Both routes get the same requests: reading a header of 700 bytes is no part of the comparison.
    const requests = tokens.map((token) => ({ headers: { authorization: `Bearer ${token}` } }));
    const { sides, note } = await interleave(
      [
        { name: "guarded", server, url: `${origin}/guarded`, requests },
        { name: "open", server, url: `${origin}/open`, requests },
      ],
      { ...OPTIONS, ...options },
    );
    return compare({ name: "guard", unit: "requests/s", sides, target: 0.75, notes: [note] });
  } finally {
    await server.stop();
    await database.drop();
  }
}

async function fetchToken(origin: string, form: string): Promise<string> {
  const response = await fetch(`${origin}/oauth/token`, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: form,
  });
  const { access_token } = (await response.json()) as { access_token?: string };
  if (access_token === undefined) throw new Error(`no token: ${response.status}`);
  return access_token;
}

if (process.argv[1] === import.meta.filename) print(await run());
