import { openPostgres, tokenOf } from "./support/backends.js";
import { interleave } from "./support/load.js";
import { type BenchResult, compare, print } from "./support/report.js";

const OPERATIONS = 200;
const OPTIONS = { rounds: 7, seconds: 3, connections: 32 };

/**
 * Requests per second of clients that poll operations, 200 of them, against an open route that answers the same body
 * from a constant.
 */
export async function run(options: Partial<typeof OPTIONS> = {}): Promise<BenchResult> {
  const place = await openPostgres();
  const server = await place.start("operations-app");
  try {
    const ids = (await server.ask(`preload ${OPERATIONS}`))["ids"] as string[];
    const origin = String(server.ready["url"]);
    const headers = { authorization: `Bearer ${await tokenOf(server)}` };
    const { sides, note } = await interleave(
      [
        {
          name: "GET /api/v1/operations/:id",
          server,
          url: origin,
          requests: ids.map((id) => ({ path: `/api/v1/operations/${id}`, headers })),
        },
        { name: "open, constant", server, url: `${origin}/open`, requests: [{ headers }] },
      ],
      { ...OPTIONS, ...options },
    );
    return compare({ name: "polling", unit: "requests/s", sides, target: 0.4, notes: [note] });
  } finally {
    await server.stop();
    await place.close();
  }
}

if (process.argv[1] === import.meta.filename) print(await run());
