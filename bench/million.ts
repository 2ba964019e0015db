import { randomUUID } from "node:crypto";
import { encodeCursor } from "../src/http/pagination.js";
import { type BenchPlace, openPostgres, tokenOf } from "./support/backends.js";
import type { BenchServer } from "./support/child.js";
import { interleave } from "./support/load.js";
import { type BenchResult, compare, print } from "./support/report.js";

const OPTIONS = { rounds: 5, seconds: 1, many: 1_000_000, few: 10_000 };
/** At most 1.2 times the time, so at least so much of the rate. */
const TARGET = 1 / 1.2;

interface Installation {
  readonly place: BenchPlace;
  readonly server: BenchServer;
  readonly headers: Readonly<Record<string, string>>;
  /** Paths of requests, asked for in turn, by what they ask for. */
  readonly paths: Readonly<Record<string, readonly string[]>>;
}

/**
 * Requests per second that list, filter and read operations, with a million finished ones in the table, against ten
 * thousand. One client asks at a time, so a rate is what one request takes.
 */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  const options = { ...OPTIONS, ...given };
  const many = await open(options.many);
  const few = await open(options.few);
  const results: BenchResult[] = [];
  try {
    for (const name of Object.keys(many.paths)) {
      const side = ({ server, headers, paths }: Installation, label: number) => ({
        name: `${label.toLocaleString("en-US")} operations`,
        server,
        url: String(server.ready["url"]),
        requests: (paths[name] ?? []).map((path) => ({ path, headers: { ...headers } })),
      });
      const { sides, note } = await interleave([side(many, options.many), side(few, options.few)], {
        rounds: options.rounds,
        seconds: options.seconds,
        connections: 1,
      });
      results.push(
        compare({ name: `million: ${name}`, unit: "requests/s", sides, target: TARGET, notes: [note] }),
      );
    }
    return results;
  } finally {
    for (const { server, place } of [many, few]) {
      await server.stop();
      await place.close();
    }
  }
}

const PAGE = 10;
/** So many operations, from all over the table, are read, and have their place in the list and their resource looked at. */
const SAMPLES = 1_000;
const PROJECTS = 10;
const ORGANIZATIONS = 4;

/**
 * Operations of four organizations in ten projects each, over thirty days, with ids in order of time, and all else
 * as by chance: nine in ten have succeeded, most are syncs, one in a hundred is a discovery, and each resource has
 * about a hundred.
 */
const FILL = `
  WITH numbered AS (
    SELECT n, now() - interval '30 days' + n * (interval '30 days' / $1::int) AS at, md5(n::text) AS chance
    FROM generate_series(1, $1::int) n),
  thrown AS (
    SELECT *, ('x' || substr(chance, 20, 6))::bit(24)::int AS dice, ('x' || substr(chance, 26, 6))::bit(24)::int AS other
    FROM numbered)
  INSERT INTO operations (id, organization_id, project_id, operation_type, resource_type, resource_id, status,
    timeout_seconds, created_by, result, error, progress, created_at, started_at, finished_at, attempt, revision)
  SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(chance, 1, 19))::uuid,
    CASE WHEN n % ${ORGANIZATIONS} = 0 THEN $2::uuid ELSE md5('o' || n % ${ORGANIZATIONS})::uuid END,
    CASE WHEN n % ${ORGANIZATIONS} = 0 THEN ($3::uuid[])[1 + dice % ${PROJECTS}] ELSE md5('p' || n % 40)::uuid END,
    CASE WHEN other % 100 < 5 THEN 'check' WHEN other % 100 = 5 THEN 'discover' ELSE 'sync' END, 'run',
    md5('r' || n % greatest($1::int / 100, 1))::uuid,
    (CASE WHEN dice / 10 % 100 < 90 THEN 'succeeded' WHEN dice / 10 % 100 < 98 THEN 'failed' ELSE 'cancelled' END)::operation_status,
    3600, '{"kind": "client", "id": "bench", "name": "bench"}', '{"rows": 5000}', NULL,
    '{"percent": 100, "message": "done"}', at, at, at + interval '20 seconds', 1, 5
  FROM thrown`;

async function open(count: number): Promise<Installation> {
  const place = await openPostgres();
  const server = await place.start("operations-app");
  const { organizationId, projectId } = server.ready as Record<string, string>;
  const projects = [projectId, ...Array.from({ length: PROJECTS - 1 }, () => randomUUID())];
  await place.query(FILL, [count, organizationId, projects]);
  await place.query("VACUUM ANALYZE operations");
  const samples = await place.query<{ id: string; resource: string }>(
    `SELECT id, resource_id AS resource FROM operations WHERE organization_id = $1 ORDER BY md5(id::text) LIMIT $2`,
    [organizationId, SAMPLES],
  );
  const operations = "/api/v1/operations";
  // A page that is full on both sides, whatever is asked for: they answer the same amount.
  const list = `${operations}?limit=${PAGE}`;
  const since = new Date(Date.now() - 10 * 86_400_000).toISOString();
  return {
    ...{ place, server, headers: { authorization: `Bearer ${await tokenOf(server)}` } },
    paths: {
      read: samples.map(({ id }) => `${operations}/${id}`),
      list: [list],
      "list, far behind": samples.map(({ id }) => `${list}&cursor=${encodeCursor(id)}`),
      "by status": [`${list}&status=failed`],
      "by a status that none has": [`${list}&status=running`],
      "by a type that few have": [`${list}&operationType=discover`],
      "by a type that none has": [`${list}&operationType=nothing`],
      "by project and status": projects.map((id) => `${list}&project=${id}&status=failed`),
      "by resource": samples.map(({ resource }) => `${list}&resource=${resource}`),
      "by time and status": [`${list}&since=${since}&status=failed`],
    },
  };
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
