import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { statusOf } from "../access/support.js";
import { type DatabaseAnswer, type DeploymentsApi, HTTP_DATE, openDeployments } from "./support.js";

let api: DeploymentsApi;

beforeAll(async () => {
  api = await openDeployments();
});
afterAll(() => api.gatehouse.close());

const URL = "/deployments/databases/graphneo";
const create = (body: Readonly<Record<string, unknown>>, url = URL, options = {}) =>
  api.call<{ database: DatabaseAnswer; operationId: string; error: string; errors: { path: string }[] }>(
    "POST",
    url,
    {
      body,
      ...options,
    },
  );

describe("a database", () => {
  test("is created at once in words, and later in deed: 202 with its details and the operation", async () => {
    const made = await create({
      name: "test_db",
      plan: "ds1",
      version: "4.16.3",
      region: "local",
      environmentId: "default",
    });
    statusOf(made, 202);
    const { database, operationId } = made.body;
    expect(made.headers["operation-location"]).toBe(`/api/v1/operations/${operationId}`);
    expect(made.headers["retry-after"]).toMatch(/^\d+$/);
    expect(database).toMatchObject({
      organizationId: api.gatehouse.organizationId,
      environmentId: api.gatehouse.project.id,
      environmentType: "development",
      name: "test_db",
      engine: "graphneo",
      domainName: "localhost",
      username: "app",
      connectionUrl: `redis://app:********@localhost:${database.port}`,
      createdAt: HTTP_DATE,
      terminatedAt: null,
      plan: "ds1",
      version: { number: "4.16.3", edition: "Valkey 8.0.2", vendor: "FalkorDB" },
      region: "local",
      extras: [],
      status: {
        state: "creating",
        needsRestart: false,
        isPending: true,
        isLocked: true,
        currentOperationId: operationId,
        underIncident: false,
        lastHealthCheckStatus: "unknown",
        lastHealthCheckAt: null,
      },
    });
    expect(database.nodes).toEqual([
      { role: "primary", domainName: "localhost", port: database.port, state: "creating" },
    ]);
    expect((await api.read(database.id)).body).toEqual(database);
    const operation = await api.call<{ operationType: string; status: string; resource: object }>(
      "GET",
      `/api/v1/operations/${operationId}`,
    );
    expect(operation.body).toMatchObject({
      operationType: "deployment.create",
      status: "pending",
      resource: { type: "deployment", id: database.id, href: `/databases/${database.id}` },
    });
    await api.end(operationId);
    expect((await api.read(database.id)).body.status).toMatchObject({ state: "running", isLocked: false });
  });

  test("is described in the words of the text too, as a form, with defaults for what is left out", async () => {
    const form = new URLSearchParams([
      ["name", "from a form"],
      ["plan", "ds1"],
      ["awsRegion", "local"],
      ["enabledExtrasKinds", "BROWSER"],
    ]);
    const made = await api.call<{ database: DatabaseAnswer & { extras: string[] } }>("POST", URL, {
      raw: form.toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    statusOf(made, 202);
    expect(made.body.database).toMatchObject({
      region: "local",
      extras: ["BROWSER"],
      version: { number: "4.16.3" },
    });
  });

  test("is addressed in all forms of the text, with dashes or without", async () => {
    const { id } = await api.database();
    const plain = id.replaceAll("-", "");
    for (const prefix of [URL, "/deployments/databases", "/databases"]) {
      for (const form of [id, plain, plain.toUpperCase()]) {
        const answer = await api.call<DatabaseAnswer>("GET", `${prefix}/${form}`);
        expect(answer.body.id, `${prefix}/${form}`).toBe(id);
        statusOf(await api.call("GET", `${prefix}/${form}/status`), 200);
      }
    }
    statusOf(await api.call("GET", `/deployments/databases/postgres/${id}`), 404);
    statusOf(await api.call("GET", `/deployments/databases/mysql/${id}`), 404);
    statusOf(await api.call("GET", "/databases/no-id"), 404);
  });

  test("has a name of its own in its environment, for as long as it lives", async () => {
    const first = await api.database("running", { name: "taken" });
    const again = await create({ name: "taken", plan: "ds1", environmentId: "default" });
    statusOf(again, 409);
    expect(again.body.error).toBe('a database named "taken" exists already in this environment');
    const elsewhere = await api.gatehouse.createProject();
    statusOf(await create({ name: "taken", plan: "ds1", environmentId: elsewhere.slug }), 202);
    const ended = await api.call("DELETE", `/databases/${first.id}?finalSnapshot=false`);
    await api.end(ended.body.operationId);
    statusOf(await create({ name: "taken", plan: "ds1", environmentId: "default" }), 202);
  });

  test("of several requests at once for one name is made once", async () => {
    const answers = await Promise.all(
      [1, 2, 3, 4].map(() => create({ name: "raced", plan: "ds1", environmentId: "default" })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409, 409]);
  });

  test.each<[string, Readonly<Record<string, unknown>>, string, RegExp]>([
    ["no name", { plan: "ds1" }, "/name", /is required/],
    ["no plan", { name: "x" }, "/plan", /is required/],
    ["an empty name", { name: "", plan: "ds1" }, "/name", /must/],
    ["a name with a line break", { name: "a\nb", plan: "ds1" }, "/name", /must/],
    ["a long name", { name: "x".repeat(101), plan: "ds1" }, "/name", /must/],
    [
      "an unknown plan",
      { name: "x", plan: "ds9" },
      "/plan",
      /"ds9" is no plan for graphneo; there are ds1, ds2, ds3/,
    ],
    [
      "an unknown region",
      { name: "x", plan: "ds1", region: "mars" },
      "/region",
      /"mars" is no region; there are local/,
    ],
    [
      "an unknown version",
      { name: "x", plan: "ds1", version: "1.0" },
      "/version",
      /"1.0" is no version of graphneo that can be run here; there are 4.16.3, 4.14.0/,
    ],
    [
      "extras that cannot be provided",
      { name: "x", plan: "ds1", extras: ["BROWSER", "READ_REPLICA_C"] },
      "/extras",
      /READ_REPLICA_C: graphneo cannot provide that here; there are BROWSER/,
    ],
    [
      "an unknown environment",
      { name: "x", plan: "ds1", environmentId: "nowhere" },
      "/environmentId",
      /"nowhere" is no environment that you reach/,
    ],
    ["an unknown field", { name: "x", plan: "ds1", size: 3 }, "/size", /is not a field/],
    [
      "two regions",
      { name: "x", plan: "ds1", region: "local", awsRegion: "eu-west-1" },
      "/awsRegion",
      /says something else than region/,
    ],
  ])("is not made of %s: 400 that says what is right", async (_what, body, path, message) => {
    const answer = await create(body);
    statusOf(answer, 400);
    expect(answer.body.error).toMatch(message);
    expect(answer.body.errors.map((one) => one.path)).toContain(path);
  });

  test("of an engine that cannot be run here is a 400 that says what to install; of an unknown one, what there is", async () => {
    const absent = await create({ name: "x", plan: "ds1" }, "/deployments/databases/postgres");
    statusOf(absent, 400);
    expect(absent.body.error).toContain("postgres cannot be run in the region local: install postgresql-15");
    const unknown = await create({ name: "x", plan: "ds1" }, "/deployments/databases/mysql");
    statusOf(unknown, 400);
    expect(unknown.body.error).toContain('"mysql" is no engine; there are graphneo, postgres');
  });

  test("shows its password to who may write, on request, and the audit log says so", async () => {
    const { id, port } = await api.database();
    const shown = await api.call<DatabaseAnswer>("GET", `/databases/${id}?reveal=true`);
    statusOf(shown, 200);
    expect(shown.body.connectionUrl).toMatch(new RegExp(`^redis://app:[A-Za-z0-9_-]{43}@localhost:${port}$`));
    expect(shown.headers["cache-control"]).toBe("no-store");
    const again = await api.call<DatabaseAnswer>("GET", `/databases/${id}?reveal=true`);
    expect(again.body.connectionUrl).toBe(shown.body.connectionUrl);
    const token = await api.token({ scopes: ["deployment:read"] });
    statusOf(await api.read(id, { token }), 200);
    const refused = await api.call("GET", `/databases/${id}?reveal=true`, { token });
    statusOf(refused, 403);
    expect(refused.headers["www-authenticate"]).toContain("deployment:write");
    const seen = await api.gatehouse.database.query(
      "SELECT actor_name FROM audit_events WHERE action = 'deployment.reveal' AND target_id = $1",
      [id],
    );
    expect(seen).toHaveLength(2);
  });

  test("keeps its secrets in no table in clear", async () => {
    const { id } = await api.database();
    const shown = await api.call<DatabaseAnswer>("GET", `/databases/${id}?reveal=true`);
    const password = /:([^:@]{43})@/.exec(shown.body.connectionUrl ?? "")?.[1] ?? "none";
    const { tablesHolding } = await import("../project/support.js");
    expect(await tablesHolding(api.gatehouse, password)).toEqual([]);
  });
});

describe("the list of databases", () => {
  let list: DeploymentsApi;
  let development: DatabaseAnswer;
  let production: DatabaseAnswer;

  beforeAll(async () => {
    list = await openDeployments();
    await list.gatehouse.createProject({ slug: "live" });
    await list.gatehouse.database.query("UPDATE projects SET environment = 'production' WHERE slug = 'live'");
    development = await list.database("running");
    production = await list.database("paused", { environmentId: "live" });
    const gone = await list.database("running");
    const ended = await list.call("DELETE", `/databases/${gone.id}`);
    await list.end(ended.body.operationId, { status: "succeeded", result: { bytes: 1, sha256: "00" } });
  });
  afterAll(() => list.gatehouse.close());

  const ids = async (query: string, url = "/databases"): Promise<string[]> => {
    const answer = await list.call<DatabaseAnswer[]>("GET", `${url}${query}`);
    statusOf(answer, 200);
    return answer.body.map(({ id }) => id);
  };

  test("has all that live, of an engine or of all", async () => {
    const all = [development.id, production.id];
    expect(await ids("")).toEqual(all);
    expect(await ids("", "/deployments/databases")).toEqual(all);
    expect(await ids("", "/deployments/databases/graphneo")).toEqual(all);
    expect(await ids("", "/deployments/databases/postgres")).toEqual([]);
    statusOf(await list.call("GET", "/deployments/databases/mysql"), 404);
  });

  test("is narrowed by environment, its type, state and name", async () => {
    expect(await ids("?environmentType=development&environmentType=staging")).toEqual([development.id]);
    expect(await ids("?environmentType=production")).toEqual([production.id]);
    expect(await ids("?state=paused")).toEqual([production.id]);
    expect(await ids("?state=terminated")).toHaveLength(1);
    expect(await ids(`?environmentId=${production.environmentId}`)).toEqual([production.id]);
    expect(await ids(`?name=${encodeURIComponent(development.name)}`)).toEqual([development.id]);
    statusOf(await list.call("GET", "/databases?state=asleep"), 400);
    statusOf(await list.call("GET", "/databases?environmentId=live"), 400);
  });

  test("comes in pages where that is asked, and a Link leads on", async () => {
    const first = await list.call<DatabaseAnswer[]>("GET", "/databases?limit=1");
    expect(first.body.map(({ id }) => id)).toEqual([development.id]);
    const next = /^<([^>]+)>; rel="next"$/.exec(String(first.headers["link"]))?.[1] ?? "";
    const second = await list.call<DatabaseAnswer[]>("GET", next);
    expect(second.body.map(({ id }) => id)).toEqual([production.id]);
    expect(second.headers["link"]).toBeUndefined();
    statusOf(await list.call("GET", "/databases?cursor=nonsense"), 400);
  });

  test("shows nothing of another organization, and of projects that the caller does not reach", async () => {
    const other = await list.gatehouse.createOrganization();
    const stranger = { token: await list.tokenOf(other.client) };
    expect((await list.call<unknown[]>("GET", "/databases", stranger)).body).toEqual([]);
    const limited = { token: await list.token({ projects: [production.environmentId] }) };
    const seen = await list.call<DatabaseAnswer[]>("GET", "/databases", limited);
    expect(seen.body.map(({ id }) => id)).toEqual([production.id]);
    for (const token of [stranger, limited]) {
      statusOf(await list.call("GET", `/databases/${development.id}`, token), 404);
      statusOf(await list.call("GET", `/databases/${development.id}/status`, token), 404);
      statusOf(await list.call("PUT", `/databases/${development.id}/pause`, token), 404);
      statusOf(await list.call("DELETE", `/databases/${development.id}`, token), 404);
    }
  });

  test("keeps its project from being deleted", async () => {
    const refused = await list.call<{ detail: string }>("DELETE", "/api/v1/projects/default");
    statusOf(refused, 409);
    expect(refused.body.detail).toContain(`1 database (${development.name})`);
  });
});
