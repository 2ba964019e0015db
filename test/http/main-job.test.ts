import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { queueBackends } from "../support/backends.js";
import { type Installation, type OperationAnswer, openInstallation } from "../support/installation.js";
import { until } from "../support/until.js";
import { createStore, holdTable, type Numbered, ProjectApi, type Store } from "./project/support.js";

let gatehouse: Installation;
let api: ProjectApi;
/** Where the jobs read from and write to, each a database of its own. */
let shop: Store;
let warehouse: Store;

const file = (name: string, config: object) => ({ name, type: "file", version: "1.0.0", config });
const postgres = (name: string, config: object) => ({ name, type: "postgres", version: "1.0.0", config });

async function makeJob(name: string, source: object, destination: object): Promise<number> {
  return (await api.make<Numbered>("/jobs", { name, source, destination, frequency: "", streams_config: {} }))
    .id;
}

/** What the task list, the run and its steps say of the newest run. */
async function newestRun(job: number): Promise<{ status: string; steps: unknown; logs: string }> {
  const [task] = (await api.get<{ id: string; status: string }[]>(`/jobs/${job}/tasks`)).body.data;
  const run = await gatehouse.call<{ steps: unknown }>("GET", `/api/v1/job-runs/${task?.id}`);
  const logs = await api.get<{ task_logs: { message: string }[] }>(`/jobs/${job}/task/${task?.id}/logs`);
  const lines = logs.body.data.task_logs.map(({ message }) => message);
  return { status: task?.status ?? "", steps: run.body.steps, logs: lines.join("\n") };
}

describe.each(await queueBackends())("with the queue on $name", (backend) => {
  beforeAll(async () => {
    gatehouse = await openInstallation({ redisUrl: backend.redis?.url ?? null });
    api = new ProjectApi(gatehouse);
    [shop, warehouse] = await Promise.all([createStore(), createStore()]);
  });

  afterAll(async () => {
    await gatehouse.close();
    await Promise.all([shop.drop(), warehouse.drop()]);
  });

  describe("a file to a PostgreSQL table", () => {
    const first = `id,name,zip,born,balance,active,note
1,"O'Hara, ""Ann""",00501,1980-02-29,10.50,true,"two
lines"
2,Zoë 💥,10115,1999-12-31,-0.01,false,
3,,99999,2000-01-01,12345678901234567890.12,true,""
`;
    let job: number;
    const people = () =>
      warehouse.query(
        "SELECT id::int, name, zip, born::text, balance::text, active, note FROM people ORDER BY id",
      );

    beforeAll(async () => {
      const source = file("people file", {
        path: "in/people.csv",
        columns: { zip: "string", id: "integer" },
      });
      job = await makeJob("people", source, postgres("warehouse", warehouse.config));
    });

    const firstRows = [
      {
        id: 1,
        name: `O'Hara, "Ann"`,
        zip: "00501",
        born: "1980-02-29",
        balance: "10.50",
        active: true,
        note: "two\nlines",
      },
      {
        id: 2,
        name: "Zoë 💥",
        zip: "10115",
        born: "1999-12-31",
        balance: "-0.01",
        active: false,
        note: null,
      },
      {
        id: 3,
        name: null,
        zip: "99999",
        born: "2000-01-01",
        balance: "12345678901234567890.12",
        active: true,
        note: "",
      },
    ];

    test("arrives row by row exactly, and the run says how much", async () => {
      await gatehouse.putFile("in/people.csv", first);
      const operation = await api.syncAndWait(job);
      expect(operation).toMatchObject({
        status: "succeeded",
        result: { rows: 3, streams: { people: { rows: 3 } } },
      });
      expect(await people()).toEqual(firstRows);
      expect(await newestRun(job)).toMatchObject({ status: "completed", steps: [{ rows: 3 }, { rows: 3 }] });
    });

    test("with a value that does not fit fails with what and where, and leaves the old rows untouched", async () => {
      await gatehouse.putFile("in/people.csv", first.replace("2,Zoë", "two,Zoë"));
      const { status, error } = await api.syncAndWait(job);
      expect(status).toBe("failed");
      expect(error).toMatchObject({
        type: "urn:gatehouse:error:invalid-data",
        title: "Data does not fit",
        vertex: "source",
        stream: "people",
        path: "in/people.csv",
        column: "id",
        line: 4,
      });
      expect(error?.detail).toContain('"two"');
      const run = await newestRun(job);
      expect(run.status).toBe("failed");
      expect(run.logs).toContain(error?.detail);
      expect(run.steps).toMatchObject([
        { name: "source", state: "FAILED", error: { column: "id" } },
        { name: "destination", state: "CANCELLED", error: null },
      ]);
      expect(await people()).toEqual(firstRows);
    });

    test("that is missing fails and says so, and leaves the old rows untouched", async () => {
      await gatehouse.removeFile("in/people.csv");
      const { status, error } = await api.syncAndWait(job);
      expect(status).toBe("failed");
      expect(error).toMatchObject({ vertex: "source", path: "in/people.csv" });
      expect(error?.detail).toBe('"in/people.csv" does not exist below the files root');
      expect(await people()).toEqual(firstRows);
    });

    test("is replaced by the next sync, at once: readers see all of the old rows or all of the new", async () => {
      const lines = Array.from(
        { length: 20_000 },
        (_, index) => `${index + 1},n${index},00001,2001-01-01,1.00,true,x`,
      );
      await gatehouse.putFile("in/people.csv", `id,name,zip,born,balance,active,note\n${lines.join("\n")}\n`);
      const operationId = await api.sync(job);
      const seen = new Set<number>();
      const operation = await until("the sync is done", async () => {
        const [row] = await warehouse.query<{ count: number }>("SELECT count(*)::int FROM people");
        seen.add(row?.count ?? 0);
        const { body } = await gatehouse.call<OperationAnswer>("GET", `/api/v1/operations/${operationId}`);
        return body.done ? body : null;
      });
      expect(operation).toMatchObject({ status: "succeeded", result: { rows: 20_000 } });
      expect([...seen].filter((count) => count !== 3 && count !== 20_000)).toEqual([]);
      const [sum] = await warehouse.query(
        "SELECT count(*)::int, sum(id)::int, count(DISTINCT id)::int AS ids FROM people",
      );
      expect(sum).toEqual({ count: 20_000, sum: 200_010_000, ids: 20_000 });
    });

    test("leaves nothing beside the table but the connector's own state", async () => {
      const tables = await warehouse.query<{ name: string }>(
        "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1",
      );
      expect(tables.map(({ name }) => name).filter((name) => !name.startsWith("_gatehouse"))).toEqual([
        "people",
      ]);
    });
  });

  describe("a PostgreSQL table to a file", () => {
    let job: number;

    beforeAll(async () => {
      await shop.query(`CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL, total numeric(10,2), what jsonb, raw bytea);
      INSERT INTO orders VALUES
        (1, '2024-02-29T23:59:59.5Z', 10.50, '{"sku": ["a", null]}', '\\x00ff'),
        (2, '2024-03-01T00:00:00Z', NULL, NULL, NULL)`);
      const source = postgres("shop", shop.config);
      job = await makeJob("orders", source, file("lake", { path: "lake", format: "jsonl" }));
    });

    const orders = async (): Promise<unknown[]> => {
      const text = await gatehouse.readFile("lake/orders.jsonl");
      return text
        .split("\n")
        .slice(0, -1)
        .map((line): unknown => JSON.parse(line));
    };
    const firstOrders = [
      { id: 1, at: "2024-02-29T23:59:59.5Z", total: 10.5, what: { sku: ["a", null] }, raw: "AP8=" },
      { id: 2, at: "2024-03-01T00:00:00Z", total: null, what: null, raw: null },
    ];

    test("arrives row by row exactly", async () => {
      expect(await api.syncAndWait(job)).toMatchObject({ status: "succeeded", result: { rows: 2 } });
      expect(await orders()).toEqual(firstOrders);
      expect(await gatehouse.readFile("lake/orders.jsonl"), "decimals keep their digits").toContain(
        '"total":10.50,',
      );
    });

    test("stays as it was while a run works, and is replaced when it ends", async () => {
      await shop.query(
        "INSERT INTO orders (id, at) SELECT n, '2025-01-01T00:00:00Z' FROM generate_series(3, 5000) n",
      );
      const release = await holdTable(shop, "orders");
      const operationId = await api.sync(job);
      const meanwhile = await orders();
      await release();
      await gatehouse.waitDone(operationId);
      expect(meanwhile).toEqual(firstOrders);
      const replaced = await orders();
      expect(replaced).toHaveLength(5_000);
      expect(replaced.slice(0, 2)).toEqual(firstOrders);
      expect(new Set(replaced.map((row) => (row as { id: number }).id)).size).toBe(5_000);
    });

    test("that is gone fails and names it, and leaves the old file untouched", async () => {
      const streams_config = { streams: [{ name: "orders", namespace: "public" }] };
      const { data } = (await api.get<object>(`/jobs/${job}`)).body;
      await api.put(`/jobs/${job}`, { ...data, streams_config });
      await shop.query("ALTER TABLE orders RENAME TO elsewhere");
      const { status, error } = await api.syncAndWait(job);
      expect(status).toBe("failed");
      expect(error).toMatchObject({
        type: "urn:gatehouse:error:not-found",
        vertex: "source",
        stream: "orders",
      });
      expect(error?.detail).toContain('"orders" does not exist in public');
      expect(await orders()).toHaveLength(5_000);
      await shop.query("ALTER TABLE elsewhere RENAME TO orders");
      expect(await api.syncAndWait(job)).toMatchObject({ status: "succeeded", result: { rows: 5_000 } });
    });

    test("whose server is gone fails and names its address, and leaves the old file untouched", async () => {
      const { data } = (await api.get<{ id: number; name: string }[]>("/sources")).body;
      const id = data.find(({ name }) => name === "shop")?.id;
      const moved = { ...shop.config, port: 1 };
      expect((await api.put(`/sources/${id}`, postgres("shop", moved))).status).toBe(200);
      const { status, error } = await api.syncAndWait(job);
      expect(status).toBe("failed");
      expect(error).toMatchObject({ type: "urn:gatehouse:error:unreachable", status: 502, vertex: "source" });
      expect(error?.detail).toContain("127.0.0.1:1 refused the connection");
      expect(await orders()).toHaveLength(5_000);
    });
  });
});
