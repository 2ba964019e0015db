import { randomBytes } from "node:crypto";
import { query } from "../../test/support/query.js";
import { openInstalled } from "../support/databases.js";
import { peakMemoryMib } from "../support/processes.js";
import { type BenchResult, print, within } from "../support/report.js";

const OPTIONS = { mib: 1_024 };
/** Of the worker, while it imports. */
const MAX_RSS_MIB = 200;
const MIB = 1_024 ** 2;
/** What one chunk of the archive holds; with its number a row comes to 4 KiB. */
const ROWS = 256;

/** The worker's memory while so many MiB of plain SQL, all of which pass through it twice, are imported into postgres. */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  const { mib } = { ...OPTIONS, ...given };
  const installed = await openInstalled();
  try {
    if (!(await installed.offers("postgres"))) return [];
    const { id, connectionUrl } = await installed.create("postgres", "postgres");
    const seconds = await installed.importArchive(id, archive(mib));
    const [found] = await query<{ n: number }>(connectionUrl, "SELECT count(*)::int AS n FROM events");
    if (found?.n !== mib * ROWS) throw new Error(`there are ${found?.n} rows`);
    const peak = { name: "the worker, since its start", samples: [peakMemoryMib(installed.worker)] };
    return [
      within("import into postgres", "MiB of memory", peak, MAX_RSS_MIB, [
        `${mib} MiB of plain SQL, loaded in ${seconds.toFixed(1)} s`,
      ]),
    ];
  } finally {
    await installed.close();
  }
}

async function* archive(mib: number): AsyncGenerator<Buffer> {
  yield Buffer.from("CREATE TABLE events (id integer, body text);\nCOPY events FROM stdin;\n");
  const rowBytes = MIB / ROWS;
  const body = randomBytes(rowBytes).toString("base64");
  for (let made = 0; made < mib; made += 1) {
    const rows = Array.from({ length: ROWS }, (_, index) => {
      const number = `${made * ROWS + index}\t`;
      return `${number}${body.slice(index, index + rowBytes - number.length - 1)}\n`;
    });
    yield Buffer.from(rows.join(""));
  }
  yield Buffer.from("\\.\n");
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
