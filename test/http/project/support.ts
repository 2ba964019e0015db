import pg from "pg";
import { expect } from "vitest";
import { createDatabase, type TestDatabase } from "../../support/database.js";
import type { Answer, CallOptions, Installation, OperationAnswer } from "../../support/installation.js";

/** The text's envelope. */
export interface Envelope<T> {
  readonly success: boolean;
  readonly message: string;
  readonly data: T;
  readonly error?: {
    readonly code: string;
    readonly detail: string;
    readonly operationId?: string;
    readonly errors?: readonly { readonly path: string; readonly message: string }[];
  };
}

/** What is known of everything that has an id. */
export interface Numbered {
  readonly id: number;
  readonly name: string;
}

export const TIMESTAMP = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);

/** A file connector's source or destination. */
export function files(name: string, path: string) {
  return { name, type: "file", version: "1.0.0", config: { path } };
}

/** Requests below `/api/v1/project/<project>`. */
export class ProjectApi {
  readonly #gatehouse: Installation;
  readonly #base: string;

  constructor(gatehouse: Installation, project: string | number = "default") {
    this.#gatehouse = gatehouse;
    this.#base = `/api/v1/project/${project}`;
  }

  call<T = unknown>(method: string, path: string, options?: CallOptions): Promise<Answer<Envelope<T>>> {
    return this.#gatehouse.call<Envelope<T>>(method, `${this.#base}${path}`, options);
  }

  get<T = unknown>(path: string): Promise<Answer<Envelope<T>>> {
    return this.call<T>("GET", path);
  }

  post<T = unknown>(path: string, body?: unknown): Promise<Answer<Envelope<T>>> {
    return this.call<T>("POST", path, body === undefined ? {} : { body });
  }

  put<T = unknown>(path: string, body: unknown): Promise<Answer<Envelope<T>>> {
    return this.call<T>("PUT", path, { body });
  }

  delete<T = unknown>(path: string): Promise<Answer<Envelope<T>>> {
    return this.call<T>("DELETE", path);
  }

  /** Creates what must be created without a fault; its data. */
  async make<T = Numbered>(path: string, body: unknown): Promise<T> {
    const answer = await this.post<T>(path, body);
    expect(answer.text, `POST ${path}`).toContain('"success":true');
    return answer.body.data;
  }

  /** Starts a run; the operation's id. */
  async sync(jobId: number): Promise<string> {
    const answer = await this.post(`/jobs/${jobId}/sync`);
    expect(answer.text).toBe('{"success":true,"message":"success","data":null}');
    return operationOf(answer);
  }

  async syncAndWait(jobId: number): Promise<OperationAnswer> {
    return this.#gatehouse.waitDone(await this.sync(jobId));
  }
}

/** The operation that an answer points to. */
export function operationOf({ headers }: Answer<unknown>): string {
  return String(headers["operation-location"]).replace("/api/v1/operations/", "");
}

/** A failure in the text's shape. */
export function expectFailure(answer: Answer<Envelope<unknown>>, status: number, message: string | RegExp) {
  expect(answer.body, answer.text).toMatchObject({
    success: false,
    message: typeof message === "string" ? message : expect.stringMatching(message),
    data: null,
    error: { code: expect.any(String), detail: expect.any(String), requestId: expect.any(String) },
  });
  expect(answer.status).toBe(status);
  expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
}

/** Where each fault of an answer is. */
export function faultPaths({ body }: Answer<Envelope<unknown>>): string[] {
  return (body.error?.errors ?? []).map(({ path }) => path);
}

/** A database of a user's, and how a connection to it is configured. */
export interface Store extends TestDatabase {
  readonly config: {
    readonly host: string;
    readonly port: number;
    readonly database: string;
    readonly username: string;
    readonly password: string;
  };
}

export async function createStore(): Promise<Store> {
  const database = await createDatabase({ empty: true });
  const url = new URL(database.url);
  const config = {
    host: url.hostname,
    port: Number(url.port),
    database: url.pathname.slice(1),
    username: decodeURIComponent(url.username),
    // A server that trusts everybody takes any.
    password: url.password === "" ? "any password" : decodeURIComponent(url.password),
  };
  return { ...database, config };
}

/** Names of the tables, the queue's too, that hold a text in clear, as bytes or within JSON. */
export async function tablesHolding({ database }: Installation, text: string): Promise<string[]> {
  const tables = await database.query<{ name: string }>(
    "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('public', 'bullmq')",
  );
  expect(tables.length).toBeGreaterThan(10);
  const holding: string[] = [];
  for (const { name } of tables) {
    const [found] = await database.query(
      `SELECT 1 FROM ${name} t WHERE strpos(to_json(t)::text, $1) > 0 OR strpos(to_json(t)::text, $2) > 0 LIMIT 1`,
      [text, Buffer.from(text).toString("hex")],
    );
    if (found !== undefined) holding.push(name);
  }
  return holding;
}

/** Locks a table against readers, so that a run that reads it waits; the returned function lets it go on. */
export async function holdTable(store: Store, table: string): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString: store.url });
  await client.connect();
  await client.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
  return () => client.end();
}
