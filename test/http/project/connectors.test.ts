import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation.js";
import { createStore, expectFailure, files, ProjectApi, type Store, tablesHolding } from "./support.js";

let gatehouse: Installation;
let api: ProjectApi;
let store: Store;

beforeAll(async () => {
  gatehouse = await openInstallation();
  api = new ProjectApi(gatehouse);
  store = await createStore();
  await store.query(
    "CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(10,2), placed timestamptz NOT NULL)",
  );
  await store.query("CREATE TABLE notes (body jsonb)");
});

afterAll(async () => {
  await gatehouse.close();
  await store.drop();
});

interface Spec {
  readonly type: string;
  readonly version: string;
  readonly catalog?: string;
  readonly spec: { readonly properties: Readonly<Record<string, { readonly secret?: boolean }>> };
}

describe.each([{ path: "/sources" }, { path: "/destinations" }])("$path", ({ path }) => {
  test("spec answers by GET with a query, GET with a body and POST alike, marking secrets", async () => {
    const target = { type: "postgres", version: "1.0.0" };
    const answers = [
      await api.get<Spec>(`${path}/spec?type=postgres&version=1.0.0`),
      await api.call<Spec>("GET", `${path}/spec`, { body: target }),
      await api.post<Spec>(`${path}/spec`, target),
      await api.get<Spec>(`${path}/spec?type=postgres`),
    ];
    for (const { status, body } of answers) {
      expect(status).toBe(200);
      expect(body.data).toMatchObject(target);
      expect(body.data.spec.properties["password"]?.secret).toBe(true);
      expect(body.data.spec.properties["host"]?.secret).toBeUndefined();
    }
  });

  test("spec of an unknown type or version is a 404, without a type a 400", async () => {
    expectFailure(await api.get(`${path}/spec?type=oracle`), 404, "Resource not found");
    expectFailure(await api.get(`${path}/spec?type=postgres&version=9.9.9`), 404, "Resource not found");
    expectFailure(
      await api.post(`${path}/spec`, { type: "postgres", version: "2" }),
      404,
      "Resource not found",
    );
    expectFailure(await api.get(`${path}/spec`), 400, "Bad request");
    expectFailure(await api.post(`${path}/spec`), 400, "Bad request");
  });

  test("versions are listed, of an unknown type they are a 404", async () => {
    expect((await api.get(`${path}/versions?type=file`)).body.data).toEqual({ version: ["1.0.0"] });
    expectFailure(await api.get(`${path}/versions?type=oracle`), 404, "Resource not found");
    expectFailure(await api.get(`${path}/versions`), 400, "Bad request");
  });

  test("a test that connects is SUCCEEDED, and the answer shows no secret", async () => {
    const config = { ...store.config, password: store.config.password };
    const answer = await api.post(`${path}/test`, { type: "postgres", version: "1.0.0", config });
    expect(answer.body.data).toMatchObject({
      type: "postgres",
      version: "1.0.0",
      config: { ...config, password: "********" },
      connection_result: { status: "SUCCEEDED" },
    });
    expect(answer.text).not.toContain(JSON.stringify(config.password));
  });

  test("a test of what a GET answered, secret masked, uses the stored secret", async () => {
    await gatehouse.putFile("dir/a.csv", "id\n1\n");
    const name = `stored ${path}`;
    const made = await api.make<{ config: object }>(path, {
      name,
      type: "postgres",
      version: "1.0.0",
      config: store.config,
    });
    const answer = await api.post(`${path}/test`, {
      type: "postgres",
      version: "1.0.0",
      config: made.config,
    });
    expect(answer.body.data).toMatchObject({
      config: made.config,
      connection_result: { status: "SUCCEEDED" },
    });
  });

  test.each([
    ["a database that is missing", { database: "no_such_database" }, /no_such_database does not exist/],
    ["a port where nothing listens", { port: 1 }, /refused the connection/],
    [
      "an address that the policy forbids",
      { host: "10.1.2.3" },
      /10\.1\.2\.3 is a private address.*OUTBOUND_ALLOW/,
    ],
  ])("a test of %s is a 200 with FAILED and the reason", async (_what, change, reason) => {
    const config = { ...store.config, ...change };
    const answer = await api.post(`${path}/test`, { type: "postgres", version: "1.0.0", config });
    expect(answer.status).toBe(200);
    expect(answer.body.data).toMatchObject({
      connection_result: { status: "FAILED", message: expect.stringMatching(reason) },
      logs: [{ level: "error", message: expect.stringMatching(reason) }],
    });
  });

  test("the control plane's own database is out of bounds", async () => {
    const database = new URL(gatehouse.database.url).pathname.slice(1);
    const config = { ...store.config, database };
    const answer = await api.post(`${path}/test`, { type: "postgres", version: "1.0.0", config });
    expect(answer.body.data).toMatchObject({
      connection_result: {
        status: "FAILED",
        message: expect.stringContaining("belongs to Gatehouse itself"),
      },
    });
  });

  test("a test of a wrong config is a 400, and of an unknown connector too", async () => {
    expectFailure(
      await api.post(`${path}/test`, { type: "file", version: "1.0.0", config: {} }),
      400,
      "Bad request",
    );
    expectFailure(
      await api.post(`${path}/test`, { type: "x", version: "1.0.0", config: {} }),
      400,
      "Bad request",
    );
  });
});

test("a test of a server that says nothing ends within its 10 s, FAILED", async () => {
  const silent = createServer(() => {});
  const port = await new Promise<number>((resolve) => {
    silent.listen(0, "127.0.0.1", () => resolve((silent.address() as { port: number }).port));
  });
  try {
    const config = { ...store.config, port };
    const started = performance.now();
    const answer = await api.post("/sources/test", { type: "postgres", version: "1.0.0", config });
    expect(performance.now() - started).toBeLessThan(12_000);
    expect(answer.body.data).toMatchObject({ connection_result: { status: "FAILED" } });
  } finally {
    silent.close();
  }
});

describe("discovery", () => {
  const target = (config: unknown) => ({ type: "postgres", version: "1.0.0", config });

  test.each(["/source/streams", "/sources/streams"])(
    "%s lists real streams with types and keys",
    async (path) => {
      const orders = {
        name: "orders",
        namespace: "public",
        json_schema: {
          type: "object",
          properties: {
            id: { type: "integer" },
            total: { type: ["number", "null"] },
            placed: { type: "string", format: "date-time" },
          },
        },
        primary_key: ["id"],
        cursor_fields: ["id", "placed"],
        sync_modes: ["full_refresh"],
        sync_mode: "full_refresh",
        selected: true,
      };
      const answers = [
        await api.post(path, target(store.config)),
        await api.call("GET", path, { body: target(store.config) }),
        await api.get(
          `${path}?type=postgres&version=1.0.0&config=${encodeURIComponent(JSON.stringify(store.config))}`,
        ),
      ];
      for (const { body } of answers) {
        expect(body.data).toEqual({
          streams_config: { streams: [expect.objectContaining({ name: "notes" }), orders] },
        });
      }
    },
  );

  test("of what cannot be read is a 400 that says why", async () => {
    const missing = await api.post("/source/streams", { ...files("x", "missing.csv"), name: undefined });
    expectFailure(missing, 400, "Bad request");
    expect(missing.body.error?.detail).toContain('"missing.csv" does not exist');
    const escaping = await api.post("/source/streams", {
      ...files("x", "../../etc/passwd"),
      name: undefined,
    });
    expect(escaping.body.error?.detail).toContain("must not leave the files root");
    const schema = await api.post("/source/streams", target({ ...store.config, schemas: ["nope"] }));
    expect(schema.body.error?.detail).toContain("the schema nope does not exist");
  });
});

describe("the secrets of all these tests", () => {
  const config = () => ({ ...store.config, password: "a-secret-that-nobody-stored", port: 1 });

  test("are gone from the database and were never logged", async () => {
    await api.post("/sources/test", { type: "postgres", version: "1.0.0", config: config() });
    expect(await tablesHolding(gatehouse, config().password)).toEqual([]);
    const kept = await gatehouse.database.query("SELECT FROM operations WHERE payload_secrets IS NOT NULL");
    expect(kept).toHaveLength(0);
    expect(gatehouse.log.join("")).not.toContain(config().password);
  });

  test("are not logged where they stood in a query", async () => {
    const query = new URLSearchParams({
      type: "postgres",
      version: "1.0.0",
      config: JSON.stringify(config()),
    });
    await api.get(`/source/streams?${query}`);
    expect(gatehouse.log.join("")).not.toContain(config().password);
  });
});
