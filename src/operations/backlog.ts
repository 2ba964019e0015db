import { Gauge } from "prom-client";
import { KeptRows } from "../platform/kept-rows.js";
import type { Logger } from "../platform/logger.js";
import { gaugeOfMeasured, type Metrics } from "../platform/metrics.js";
import type { Sql } from "../platform/sql.js";
import { CATALOG } from "./catalog.js";
import { ATTENDED, WAITING } from "./lines.js";

/** So many that wait are looked at, and as many that do not: asking costs no more, however many there are. */
const WINDOW = 10_000;

const STATES = ["pending", "running", "cancelling"] as const;

const COUNTED = "SELECT operation_type, status, lease_expires_at, dispatched_at, created_at FROM operations";

/** By the dispatcher's indexes, which have no finished operations. */
export const BACKLOG = {
  name: "operations_backlog",
  text: `SELECT operation_type AS type, status, count(*)::int AS count,
           (count(*) FILTER (WHERE lease_expires_at > clock_timestamp()))::int AS leased,
           (count(*) FILTER (WHERE status = 'pending' AND dispatched_at IS NOT NULL))::int AS sent,
           extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE status = 'pending'))::float8 AS age
         FROM ((${COUNTED} WHERE ${WAITING} LIMIT ${WINDOW})
               UNION ALL (${COUNTED} WHERE ${ATTENDED} LIMIT ${WINDOW})) AS unfinished
         GROUP BY 1, 2`,
};

interface Row {
  readonly type: string;
  readonly status: string;
  readonly count: number;
  readonly leased: number;
  readonly sent: number;
  /** Seconds; null: none is pending. */
  readonly age: number | null;
}

/**
 * Shows what waits and what runs in the whole installation: the same in every process. While the database is away
 * there are no such values, and `gatehouse_database_up` is 0.
 */
export function showBacklog(metrics: Metrics, sql: Sql, logger: Logger): void {
  const backlog = new KeptRows<Row>(sql, BACKLOG, logger);
  const registers = [metrics];
  const show = (name: string, help: string, value: (rows: readonly Row[]) => number): void =>
    gaugeOfMeasured(metrics, name, help, () => backlog.rows(), value);
  new Gauge({
    name: "gatehouse_database_up",
    help: "Whether the database answers.",
    registers,
    async collect() {
      this.set((await backlog.rows()) === null ? 0 : 1);
    },
  });
  new Gauge({
    name: "gatehouse_operations",
    help: `Unfinished operations of the installation, by type and state; of at most ${2 * WINDOW}.`,
    labelNames: ["type", "state"],
    registers,
    async collect() {
      const rows = await backlog.rows();
      this.reset();
      if (rows === null) return;
      for (const type of Object.keys(CATALOG)) for (const state of STATES) this.set({ type, state }, 0);
      for (const { type, status, count } of rows) this.set({ type, state: status }, count);
    },
  });
  show(
    "gatehouse_operations_oldest_pending_seconds",
    "How long the oldest pending operation of the installation has waited; 0: none waits.",
    (rows) => Math.max(0, ...rows.map(({ age }) => age ?? 0)),
  );
  show(
    "gatehouse_queue_depth",
    `Pending operations of the installation, of at most ${WINDOW} that wait, that are marked as sent to workers and that none has begun; counted by the marks in PostgreSQL, not in the queue.`,
    (rows) => rows.reduce((total, { sent }) => total + sent, 0),
  );
  show("gatehouse_leases", "Operations of the installation that a worker holds at present.", (rows) =>
    rows.reduce((total, { leased }) => total + leased, 0),
  );
}
