import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";
import { PrismaClient } from "./generated/client.js";
import { ANSWER_LIMIT_MS, CONNECT_LIMIT_MS, outliveConnections } from "./sql.js";

export type { PrismaClient };
export type PrismaTransaction = Parameters<Parameters<PrismaClient["$transaction"]>[0]>[0];

/** A process that was stopped in the middle of a transaction holds its locks no longer than this. */
const IDLE_IN_TRANSACTION_MS = 10_000;

/** The client for ordinary reads and writes; hot statements go through `sql.ts`. */
export function createPrisma(databaseUrl: string, poolSize: number): PrismaClient {
  return openPrisma(databaseUrl, poolSize).prisma;
}

/** The same, with the pool of its connections, which ends with `$disconnect`. */
export function openPrisma(
  databaseUrl: string,
  poolSize: number,
): { readonly prisma: PrismaClient; readonly pool: pg.Pool } {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: poolSize,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    query_timeout: ANSWER_LIMIT_MS,
    keepAlive: true,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
  });
  outliveConnections(pool);
  return { prisma: new PrismaClient({ adapter: new PrismaPg(pool, { disposeExternalPool: true }) }), pool };
}

/** Whether a write failed on a unique index (P2002, https://www.prisma.io/docs/orm/reference/error-reference). */
export function isUniqueViolation(error: unknown): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    "code" in error &&
    (error.code === "P2002" || error.code === "23505")
  );
}

/** The time by the database's clock: the processes' clocks may differ. */
export async function databaseTime(tx: PrismaTransaction): Promise<Date> {
  const [row] = await tx.$queryRaw<{ now: Date }[]>`SELECT clock_timestamp() AS now`;
  if (row === undefined) throw new Error("a clock that says nothing");
  return row.now;
}
