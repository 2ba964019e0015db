import pg from "pg";
import { EngineError, type Instance, type Observed } from "../engine.js";
import { FencedError } from "../substrate.js";
import { ADMIN, ADMIN_DATABASE } from "./settings.js";

const CONNECT_MS = 5_000;
const ANSWER_MS = 120_000;

/** Statements through Gatehouse's own account, over a connection that ends with them. Throws EngineError `unavailable`. */
export async function asAdmin<T>(
  { place, credentials }: Observed,
  signal: AbortSignal,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const client = new pg.Client({
    host: place.socketFolder,
    port: place.port,
    user: ADMIN,
    password: credentials.adminSecret,
    database: ADMIN_DATABASE,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: ANSWER_MS,
    application_name: "gatehouse",
  });
  // A statement's failure is thrown by the statement.
  client.on("error", () => {});
  const abort = (): void => void client.end().catch(() => {});
  try {
    await client.connect();
  } catch (cause) {
    abort();
    signal.throwIfAborted();
    throw new EngineError("unavailable", "the database does not answer", { cause });
  }
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await work(client);
  } catch (error) {
    signal.throwIfAborted();
    throw mapped(error);
  } finally {
    signal.removeEventListener("abort", abort);
    await client.end().catch(() => {});
  }
}

/** What a server says to those who are in when it ends (class 57P), and what they find when it says nothing any more. */
const ENDED = /^(57P0[123]|08\w{3}|ECONN\w+|EPIPE)$/;

function mapped(error: unknown): unknown {
  const { code = "", message = "" } = error as { code?: string; message?: string };
  if (code === "53100")
    return new EngineError("disk_full", "the disk of the region is full", { cause: error });
  if (ENDED.test(code) || /^Connection terminated/.test(message))
    return new EngineError("unavailable", "the database server ended meanwhile", { cause: error });
  return error;
}

const FENCES = `CREATE TABLE IF NOT EXISTS gatehouse_fence (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), command bigint NOT NULL, attempt bigint NOT NULL, loaded bigint)`;
const PASS = `INSERT INTO gatehouse_fence AS f (command, attempt) VALUES ($1, $2)
  ON CONFLICT (one) DO UPDATE SET command = excluded.command, attempt = excluded.attempt
  WHERE (f.command, f.attempt) <= (excluded.command, excluded.attempt)`;

/**
 * A transaction on the server that comes to nothing where a newer command was here: what a process that slept sends
 * later changes nothing.
 */
export async function fenced<T>(
  { place: { fence } }: Instance,
  client: pg.Client,
  work: () => Promise<T>,
): Promise<T> {
  await client.query("BEGIN");
  try {
    await client.query(FENCES);
    const { rowCount } = await client.query(PASS, [fence.command, fence.attempt]);
    if (rowCount === 0) throw new FencedError();
    const result = await work();
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** Says in the transaction of an exchange which command has replaced the data. */
export async function recordLoad({ place: { fence } }: Instance, client: pg.Client): Promise<void> {
  await client.query("UPDATE gatehouse_fence SET loaded = $1", [fence.command]);
}

/** Whether this very command has replaced the data already, in an attempt that did not live to tell. */
export async function hasLoaded({ place: { fence } }: Instance, client: pg.Client): Promise<boolean> {
  await client.query(FENCES);
  const { rowCount } = await client.query("SELECT 1 FROM gatehouse_fence WHERE loaded = $1", [fence.command]);
  return rowCount === 1;
}
