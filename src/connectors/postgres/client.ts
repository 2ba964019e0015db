import { Socket } from "node:net";
import pg from "pg";
import { ConnectorError } from "../connector.js";
import type { Address, OutboundPolicy } from "../outbound.js";
import type { Server } from "./config.js";
import { NO_TLS } from "./errors.js";

export const CONNECT_TIMEOUT_MS = 8_000;

/** How long a session waits for a lock that somebody else holds. */
const LOCK_TIMEOUT_MS = 30_000;

/** What sessions are opened with: the policy, and how long a connection may take. */
export interface Dialer {
  readonly policy: OutboundPolicy;
  readonly timeoutMs: number;
}

/** A value sent with a statement. */
export type Parameter = string | number | boolean | null | readonly string[];

const GOODBYE_MS = 2_000;

/**
 * Fixes how values look as text, whatever the server, the database or the user is set to: both ends of a sync
 * and our own decoding rely on it. Servers that lack a setting skip it.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  client_encoding: "UTF8",
  DateStyle: "ISO, YMD",
  IntervalStyle: "postgres",
  TimeZone: "UTC",
  extra_float_digits: "3",
  bytea_output: "hex",
  lc_monetary: "C",
  xmloption: "content",
  statement_timeout: "0",
  transaction_timeout: "0",
  idle_session_timeout: "0",
  lock_timeout: String(LOCK_TIMEOUT_MS),
};

const APPLY_SETTINGS = `
  SELECT set_config(wanted.name, wanted.value, false)
  FROM unnest($1::text[], $2::text[]) AS wanted (name, value)
  JOIN pg_catalog.pg_settings known ON lower(known.name) = lower(wanted.name)`;

/** One connection, which an abort of its signal breaks at once. */
export class Session {
  readonly client: pg.Client;
  readonly #socket: Socket;
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;

  private constructor(client: pg.Client, socket: Socket, signal: AbortSignal) {
    this.client = client;
    this.#socket = socket;
    this.#signal = signal;
    this.#onAbort = () => this.destroy();
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (signal.aborted) this.destroy();
  }

  /**
   * Connects to the checked address of the server, with its settings fixed.
   * @param idleInTransactionMs after which the server ends the session when it idles within a transaction; 0: never
   */
  static async open(
    dialer: Dialer,
    server: Server,
    signal: AbortSignal,
    idleInTransactionMs: number,
  ): Promise<Session> {
    signal.throwIfAborted();
    const { client, socket } = await dial(dialer, server, signal);
    const session = new Session(client, socket, signal);
    try {
      await session.#configure({
        ...SETTINGS,
        idle_in_transaction_session_timeout: String(idleInTransactionMs),
      });
    } catch (error) {
      session.destroy();
      throw error;
    }
    return session;
  }

  async #configure(settings: Readonly<Record<string, string>>): Promise<void> {
    await this.rows(APPLY_SETTINGS, [Object.keys(settings), Object.values(settings)]);
    // Ends a long statement soon after its client is gone; some systems cannot (PostgreSQL 14, not on Windows).
    await this.rows(APPLY_SETTINGS, [["client_connection_check_interval"], ["2s"]]).catch(() => {});
  }

  /** The rows of one statement. */
  async rows<R extends object>(text: string, values: readonly Parameter[] = []): Promise<R[]> {
    return (await this.client.query<R>(text, [...values])).rows;
  }

  /** One or more statements without parameters and without an answer that matters. */
  async run(text: string): Promise<void> {
    await this.client.query(text);
  }

  /** Commits when `work` resolves, rolls back when it rejects. */
  async transaction<T>(work: () => Promise<T>): Promise<T> {
    await this.run("BEGIN");
    try {
      const result = await work();
      await this.run("COMMIT");
      return result;
    } catch (error) {
      await this.run("ROLLBACK").catch(() => this.destroy());
      throw error;
    }
  }

  /** Whether statements can still be sent. */
  get usable(): boolean {
    return !this.#socket.destroyed;
  }

  /** Breaks the connection: what runs fails, and the server rolls back. */
  destroy(): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#socket.destroy();
  }

  /** Says goodbye, or breaks the connection where that takes too long. Never throws. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.destroy(), GOODBYE_MS);
    await this.client.end().catch(() => {});
    clearTimeout(timer);
    this.destroy();
  }
}

interface Dialed {
  readonly client: pg.Client;
  readonly socket: Socket;
}

async function dial(dialer: Dialer, server: Server, signal: AbortSignal): Promise<Dialed> {
  const deadline = new Deadline(dialer.timeoutMs, server, signal);
  try {
    const target = await deadline.race(dialer.policy.resolve(server.host, server.port, server.database));
    return await connectAs(server, target, deadline);
  } finally {
    deadline.clear();
  }
}

async function connectAs(server: Server, target: Address, deadline: Deadline): Promise<Dialed> {
  if (server.sslMode === "disable") return connect(server, target, false, deadline);
  try {
    return await connect(server, target, tlsOptions(server), deadline);
  } catch (error) {
    const refused = error instanceof Error && error.message === NO_TLS;
    if (!refused || server.sslMode !== "prefer") throw error;
    return connect(server, target, false, deadline);
  }
}

type TlsOptions = Exclude<pg.ClientConfig["ssl"], boolean | undefined>;

/** The certificate is checked against the host that the user named, not against the address it resolved to. */
function tlsOptions(server: Server): TlsOptions {
  return {
    rejectUnauthorized: server.sslMode === "verify-full",
    // Without `servername` the check falls back to the address; SNI itself allows no addresses (RFC 6066 section 3).
    ...(/^[\d.]+$|:/.test(server.host) ? {} : { servername: server.host }),
    ...(server.ca === undefined ? {} : { ca: server.ca }),
  };
}

async function connect(
  server: Server,
  target: Address,
  ssl: TlsOptions | false,
  deadline: Deadline,
): Promise<Dialed> {
  const socket = new Socket();
  const client = new pg.Client({
    host: target.address,
    port: server.port,
    user: server.username,
    database: server.database,
    // As a function, because an empty string would make pg send the PGPASSWORD of our own environment.
    password: () => server.password,
    application_name: "gatehouse",
    ssl,
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
    stream: () => socket,
  });
  // Whatever runs on a connection that breaks is rejected; the event besides would end the process.
  client.on("error", () => {});
  try {
    await deadline.race(client.connect());
    return { client, socket };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** One time limit, and the abort, over all steps of connecting. */
class Deadline {
  readonly #signal: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  readonly #onAbort: () => void;
  readonly #passed: Promise<never>;

  constructor(timeoutMs: number, server: Server, signal: AbortSignal) {
    const { promise, reject } = rejectable();
    this.#signal = signal;
    this.#passed = promise;
    this.#onAbort = () => reject(signal.reason);
    this.#timer = setTimeout(() => reject(timedOut(server, timeoutMs)), timeoutMs);
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  async race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#passed]);
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#signal.removeEventListener("abort", this.#onAbort);
  }
}

function rejectable(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse;
  });
  // It may lose every race it is in, or be in none when it is rejected.
  promise.catch(() => {});
  return { promise, reject };
}

function timedOut(server: Server, timeoutMs: number): ConnectorError {
  return new ConnectorError(
    "unreachable",
    `${server.host}:${server.port} did not answer like a PostgreSQL server within ${timeoutMs / 1000} s`,
    { details: { host: server.host, port: server.port } },
  );
}
