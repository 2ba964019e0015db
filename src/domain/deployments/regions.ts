import type { Sql } from "../../platform/sql.js";

export interface EngineVersion {
  /** Such as 15.18. */
  readonly number: string;
  readonly edition: string;
  readonly vendor: string;
}

/** What a region's workers have found of an engine. */
export interface EngineReport {
  readonly engine: string;
  /** That it can run, newest first; empty: none, and `missing` says what to install. */
  readonly versions: readonly EngineVersion[];
  /** Kinds of extras that it can provide. */
  readonly extras: readonly string[];
  /** What to install, as a sentence; null: nothing is missing. */
  readonly missing: string | null;
}

export interface RegionReport {
  readonly region: string;
  readonly engines: readonly EngineReport[];
  /** Ports of the region's range that something else listens on. */
  readonly blockedPorts: readonly number[];
  /** The worker. */
  readonly reportedBy: string;
}

/** A report as it was written down. */
export interface DatedReport extends RegionReport {
  /** Seconds since then, by PostgreSQL's clock. */
  readonly age: number;
}

const RECORD = {
  name: "region_report",
  text: `INSERT INTO region_reports (region, engines, blocked_ports, reported_by, reported_at)
         VALUES ($1, $2, $3, $4, clock_timestamp())
         ON CONFLICT (region) DO UPDATE SET engines = excluded.engines, blocked_ports = excluded.blocked_ports,
           reported_by = excluded.reported_by, reported_at = excluded.reported_at`,
};

const READ = {
  name: "region_reports_read",
  text: `SELECT region, engines, blocked_ports AS "blockedPorts", reported_by AS "reportedBy",
           extract(epoch FROM clock_timestamp() - reported_at)::float8 AS age
         FROM region_reports`,
};

/** Says what a region can run; its supervisor does so at its start, and now and then. */
export async function recordRegionReport(sql: Sql, report: RegionReport): Promise<void> {
  const { region, engines, blockedPorts, reportedBy } = report;
  await sql.run(RECORD, [region, JSON.stringify(engines), blockedPorts, reportedBy]);
}

/** The last report of each region. */
export async function readRegionReports(sql: Sql): Promise<Map<string, DatedReport>> {
  const rows = await sql.rows<DatedReport>(READ);
  return new Map(rows.map((row) => [row.region, row]));
}

const TAKE = {
  name: "region_lease_take",
  text: `INSERT INTO region_leases AS l (region, holder, expires_at)
         VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
         ON CONFLICT (region) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
           term = CASE WHEN l.holder = excluded.holder THEN l.term ELSE l.term + 1 END
         WHERE l.holder = excluded.holder OR l.expires_at < clock_timestamp()
         RETURNING term`,
};

/**
 * Takes or renews the lease of a region's supervisor.
 * @returns its term, which grows with every change of the holder; null where another one has it
 */
export async function takeRegionLease(
  sql: Sql,
  region: string,
  holder: string,
  leaseMs: number,
): Promise<number | null> {
  const [row] = await sql.rows<{ term: number }>(TAKE, [region, holder, leaseMs]);
  return row?.term ?? null;
}

/** Gives it back before its time. */
export async function releaseRegionLease(sql: Sql, region: string, holder: string): Promise<void> {
  await sql.run("UPDATE region_leases SET expires_at = clock_timestamp() WHERE region = $1 AND holder = $2", [
    region,
    holder,
  ]);
}
