import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import type {
  Connector,
  ConnectorConfig,
  ConnectorContext,
  DestinationWriter,
  Encoding,
  Fence,
  Stream,
  StreamData,
  StreamResult,
  Value,
} from "../../src/connectors/connector.js";
import { createOutboundPolicy } from "../../src/connectors/outbound.js";
import { createPostgresConnector } from "../../src/connectors/postgres/connector.js";
import type { TestDatabase } from "../support/database.js";

type SourceOf = NonNullable<Connector["source"]>;
type DestinationOf = NonNullable<Connector["destination"]>;

/** The connector with both roles present, allowed to reach this machine. */
export function postgres(connectTimeoutMs = 8_000): { source: SourceOf; destination: DestinationOf } {
  const policy = createOutboundPolicy({ allow: ["loopback"], forbidden: [] });
  const { source, destination } = createPostgresConnector(policy, { connectTimeoutMs });
  if (source === undefined || destination === undefined) throw new Error("a role is missing");
  return { source, destination };
}

/** The configuration of a test's own database. */
export function configOf(database: TestDatabase, extra: ConnectorConfig = {}): ConnectorConfig {
  const url = new URL(database.url);
  return {
    host: url.hostname,
    port: Number(url.port),
    database: url.pathname.slice(1),
    username: url.username,
    password: url.password,
    ...extra,
  };
}

export interface TestContext extends ConnectorContext {
  readonly lines: string[];
  abort(reason: Error): void;
}

export function context(): TestContext {
  const controller = new AbortController();
  const lines: string[] = [];
  return {
    signal: controller.signal,
    lines,
    log: (_level, message) => lines.push(message),
    abort: (reason) => controller.abort(reason),
  };
}

export interface SyncOptions {
  readonly from: TestDatabase;
  readonly to: TestDatabase;
  readonly streams: readonly string[];
  readonly fence: Fence;
  readonly encoding?: Encoding;
  readonly schema?: string;
  readonly context?: TestContext;
}

/** A whole sync: open both ends, write every stream, commit, close. */
export async function sync(options: SyncOptions): Promise<StreamResult[]> {
  const { source, destination } = postgres();
  const running = options.context ?? context();
  const reader = await source.open(configOf(options.from), running);
  try {
    const config = configOf(options.to, options.schema === undefined ? {} : { schema: options.schema });
    const writer = await destination.open(config, options.fence, running);
    try {
      const results: StreamResult[] = [];
      for (const name of options.streams) {
        const stream = await reader.describe(name, undefined);
        const data = await reader.read(stream, options.encoding ?? "pgcopy");
        results.push(await writer.write(stream, data, () => {}));
      }
      await writer.commit();
      return results;
    } finally {
      await writer.close();
    }
  } finally {
    await reader.close();
  }
}

export const PEOPLE: Stream = {
  name: "people",
  columns: [
    { name: "id", type: "integer", nullable: false },
    { name: "name", type: "string", nullable: true },
  ],
  primaryKey: ["id"],
  cursorFields: [],
  syncModes: ["full_refresh"],
};

/** Rows as a source of another kind of store gives them; `between` runs after each batch. */
export function rowsOf(
  batches: readonly (readonly (readonly Value[])[])[],
  between: (index: number) => Promise<void> = async () => {},
): StreamData {
  async function* generate() {
    for (const [index, rows] of batches.entries()) {
      yield { rows, bytes: rows.length * 10 };
      await between(index);
    }
  }
  return { encoding: "rows", batches: generate() };
}

/** Opens a writer with one stream `people` staged. */
export async function stagePeople(
  to: TestDatabase,
  fence: Fence,
  rows: readonly (readonly Value[])[],
  running = context(),
): Promise<DestinationWriter> {
  const writer = await postgres().destination.open(configOf(to), fence, running);
  await writer.write(PEOPLE, rowsOf([rows]), () => {});
  return writer;
}

/** What a promise was rejected with. */
export async function failure<E extends Error>(
  work: Promise<unknown>,
  type: abstract new (...args: never[]) => E,
): Promise<E> {
  const error: unknown = await work.then(
    () => new Error("nothing was thrown"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof type)) throw error;
  return error;
}

/** Names of all tables of a schema, `_gatehouse_state` aside. */
export async function tablesOf(database: TestDatabase, schema = "public"): Promise<string[]> {
  const rows = await database.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind = 'r' AND relname <> '_gatehouse_state' ORDER BY 1`,
    [schema],
  );
  return rows.map(({ name }) => name);
}

/** A TCP server on a free port of loopback that ends with `close`. */
export async function listen(onSocket: (socket: net.Socket) => void) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Connects to the server of a database. */
export function connectTo(database: TestDatabase): net.Socket {
  const url = new URL(database.url);
  return net.connect(Number(url.port), url.hostname).on("error", () => {});
}
