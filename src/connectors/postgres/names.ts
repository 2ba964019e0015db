import { createHash } from "node:crypto";
import pg from "pg";
import { ConnectorError, type Fence, type Stream } from "../connector.js";

/** What every table of ours in a user's schema begins with; sources do not show them. */
export const OWN_PREFIX = "_gatehouse_";

export const STATE_TABLE = `${OWN_PREFIX}state`;

/** PostgreSQL cuts longer names off, silently (NAMEDATALEN). */
export const MAX_NAME_BYTES = 63;

/** An identifier, quoted. */
export function quote(name: string): string {
  return pg.escapeIdentifier(name);
}

/** A table in its schema, quoted. */
export function qualified(schema: string, table: string): string {
  return `${quote(schema)}.${quote(table)}`;
}

/** Identifiers, quoted, as a list. */
export function quoteAll(names: readonly string[]): string {
  return names.map(quote).join(", ");
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

/** What all staging tables of a job begin with. */
export function stagingPrefix(jobId: string): string {
  return `${OWN_PREFIX}${hash(jobId)}_`;
}

/** Where a stream is written aside: the same name for the same attempt, another one for every other. */
export function stagingTable(fence: Fence, table: string): string {
  return `${stagingPrefix(fence.jobId)}${hash(table).slice(0, 8)}_${fence.run}_${fence.attempt}`;
}

/** The table that a stream is written to; throws where PostgreSQL could not hold its names as they are. */
export function targetTable(stream: Stream): string {
  checkName("stream", stream.name, stream.name);
  if (stream.name.startsWith(OWN_PREFIX)) {
    throw new ConnectorError(
      "invalid_config",
      `stream "${stream.name}": names that begin with ${OWN_PREFIX} are Gatehouse's own`,
      {
        details: { stream: stream.name },
      },
    );
  }
  for (const column of stream.columns) checkName("column", column.name, stream.name);
  return stream.name;
}

function checkName(what: "stream" | "column", name: string, stream: string): void {
  const bytes = Buffer.byteLength(name);
  const fault =
    bytes === 0
      ? "is empty"
      : name.includes("\0")
        ? "holds a zero character"
        : bytes > MAX_NAME_BYTES
          ? `has ${bytes} bytes, PostgreSQL allows ${MAX_NAME_BYTES}`
          : null;
  if (fault === null) return;
  throw new ConnectorError("unsupported", `the name of the ${what} "${name}" ${fault}`, {
    details: { stream, ...(what === "column" ? { column: name } : {}) },
  });
}
