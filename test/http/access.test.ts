import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXTRA_SCOPES, type Scope, TENANT_SCOPES } from "../../src/auth/scopes.js";
import { newId } from "../../src/platform/ids.js";
import {
  type CallOptions,
  type Credentials,
  type Installation,
  openInstallation,
  type TestProject,
} from "../support/installation.js";
import { pathWith, type Route, routesOf } from "./core/routes.js";
import { files, type Numbered, ProjectApi } from "./project/support.js";

let gatehouse: Installation;
let routes: Route[];
let guarded: Route[];
/** What there is to see: one of everything, in the first organization's first project. */
let things: Things;

interface Things {
  readonly project: string;
  readonly source: string;
  readonly destination: string;
  readonly job: string;
  readonly jobId: string;
  readonly run: string;
  readonly operation: string;
  readonly projectId: string;
  readonly client: string;
  readonly secret: string;
  readonly user: string;
  readonly apiKey: string;
  readonly server: string;
  readonly webhook: string;
  readonly delivery: string;
  readonly database: string;
  readonly snapshot: string;
  readonly archive: string;
}

/** Which thing the last id of a path is of: a route that is missing here is walked with an id of nothing. */
const THINGS: readonly [RegExp, keyof Things][] = [
  [/^\/api\/v1\/project\/[^/]+\/.*\/tasks?\//, "run"],
  [/^\/api\/v1\/project\/[^/]+\/sources?\//, "source"],
  [/^\/api\/v1\/project\/[^/]+\/destinations?\//, "destination"],
  [/^\/api\/v1\/project\//, "job"],
  [/^\/api\/v1\/operations\//, "operation"],
  [/^\/api\/v1\/job-runs\//, "run"],
  [/^\/api\/v1\/jobs\//, "jobId"],
  [/^\/api\/v1\/projects\//, "projectId"],
  [/^\/api\/v1\/clients\//, "client"],
  [/^\/organizations\/api-clients\//, "client"],
  [/^\/api\/v1\/users\//, "user"],
  [/^\/api\/v1\/apiKey\//, "apiKey"],
  [/^\/api\/v1\/resource-servers\//, "server"],
  [/^\/api\/v1\/webhooks\//, "webhook"],
  [/^(\/deployments)?\/databases\/\{(id|engine)\}/, "database"],
];
const thingOf = (path: string): keyof Things | undefined => THINGS.find(([shape]) => shape.test(path))?.[1];

const NAMES = [
  "hidden source",
  "hidden destination",
  "hidden job",
  "hidden client",
  "hidden database",
] as const;
/** Who may call these runs the platform: there is nobody to hide them from. */
const OF_PLATFORM = /^\/api\/v1\/organizations\b/;
/** What belongs to an organization, and to none of its projects. */
const OF_ORGANIZATION = /^\/api\/v1\/resource-servers\b/;

beforeAll(async () => {
  gatehouse = await openInstallation();
  routes = routesOf(gatehouse.app);
  guarded = routes.filter(({ scopes }) => scopes !== null);
  things = await makeThings();
}, 180_000);

afterAll(() => gatehouse.close());

async function makeThings(): Promise<Things> {
  await gatehouse.putFile("in.csv", "id\n1\n");
  const body = { url: `http://127.0.0.1:${new URL(gatehouse.origin).port}/healthz`, projectId: "default" };
  const webhook = await gatehouse.call<{ id: string }>("POST", "/api/v1/webhooks", { body });
  const webhookUrl = `/api/v1/webhooks/${webhook.body.id}`;
  const delivery = await gatehouse.call<{ id: string }>("POST", `${webhookUrl}/test`);
  const api = new ProjectApi(gatehouse);
  const ends = { source: files(NAMES[0], "in.csv"), destination: files(NAMES[1], "out") };
  const job = await api.make("/jobs", { ...ends, name: NAMES[2], frequency: "", streams_config: {} });
  const operation = await api.syncAndWait(job.id);
  const first = async (path: string) => String((await api.get<Numbered[]>(path)).body.data[0]?.id);
  const make = async <T>(path: string, body: object): Promise<T> => {
    const answer = await gatehouse.call<T>("POST", path, { body });
    expect(answer.status, answer.text).toBeLessThan(300);
    return answer.body;
  };
  const client = await make<{ id: string; secrets: { id: string }[] }>("/api/v1/clients", {
    ...{ name: NAMES[3], scopes: [] },
  });
  const user = await make<{ id: string }>("/api/v1/users", {
    ...{ username: "hidden-user", email: "hidden@example.com", password: "correct horse battery staple" },
  });
  const { apiKey } = await make<{ apiKey: { id: string } }>("/api/v1/apiKey", {
    ...{ id: "hidden_key", name: "hidden key" },
  });
  const server = await make<{ id: string }>("/api/v1/resource-servers", { identifier: "hidden-audience" });
  const jobs = await gatehouse.call<{ items: { id: string }[] }>("GET", "/api/v1/jobs");
  return {
    project: String(gatehouse.project.number),
    source: await first("/sources"),
    destination: await first("/destinations"),
    job: String(job.id),
    jobId: jobs.body.items[0]?.id ?? "",
    run: operation.resource.id,
    operation: operation.id,
    projectId: gatehouse.project.id,
    ...{ client: client.id, secret: client.secrets[0]?.id ?? "", user: user.id },
    ...{ apiKey: apiKey.id, server: server.id },
    webhook: webhook.body.id,
    delivery: delivery.body.id,
    ...(await makeDatabase(operation.id)),
  };
}

/** A paused database with a snapshot and an export, as its rows: no engine is needed to be refused. */
async function makeDatabase(operationId: string) {
  const { runtime, organizationId, project } = gatehouse;
  const [id, snapshot, archive] = [newId(), newId(), newId()];
  const owned = { organizationId, projectId: project.id, engine: "postgres", version: "15.1" };
  await runtime.prisma.deployment.create({
    data: {
      ...{ ...owned, id, name: NAMES[4], plan: "ds1", region: "local", extras: [], username: "app" },
      ...{ state: "paused", desiredState: "paused", createdBy: "a test" },
    },
  });
  const stored = { ...owned, deploymentId: id, state: "available", operationId, createdBy: "a test" };
  await runtime.prisma.snapshot.create({
    data: { ...stored, id: snapshot, kind: "demand", blobKey: `snapshots/${snapshot}` },
  });
  await runtime.prisma.deploymentExport.create({
    data: { ...stored, id: archive, blobKey: `exports/${archive}` },
  });
  return { database: id, snapshot, archive };
}

/** Ids of nothing, each in the form of its thing. */
function nothing(): Things {
  const number = "2147483000";
  const id = () => crypto.randomUUID();
  return {
    ...{ project: number, source: number, destination: number, job: number },
    ...{ jobId: id(), run: id(), operation: id(), projectId: id() },
    ...{
      client: id(),
      secret: id(),
      user: id(),
      apiKey: "no_key",
      server: id(),
      webhook: id(),
      delivery: id(),
      database: id(),
      snapshot: id(),
      archive: id(),
    },
  };
}

/** A route's path with these things where it asks for one. */
function pathOf(route: Route, of: Things): string {
  const thing = thingOf(route.path);
  const item = thing === undefined ? crypto.randomUUID() : of[thing];
  const filled = {
    projectid: of.project,
    jobid: of.job,
    name: "source",
    sid: of.secret,
    did: of.delivery,
    ...{ snapshotId: of.snapshot, exportId: of.archive, operationId: of.operation, engine: "postgres" },
    id: item,
  };
  return pathWith(route, {
    ...Object.fromEntries(route.pathParameters.map((name) => [name, item])),
    ...filled,
  });
}

/** What routes take whose bodies the schema does not say enough of. */
const BODIES: readonly [RegExp, CallOptions][] = [
  [/\/connection-url$/, { body: { rotatePassword: true } }],
  [/\/restore$/, { body: { snapshotId: "01890a5d-ac96-774b-bcce-b302099a8057" } }],
  [/\/snapshot-schedule$/, { body: { cron: "0 3 * * *" } }],
  [
    /^(\/deployments)?\/databases\/.*\/import$/,
    {
      headers: { "content-type": "multipart/form-data; boundary=b" },
      raw: '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\narchive\r\n--b--\r\n',
    },
  ],
];

function send(route: Route, path: string, token: string | null) {
  const special = route.method === "GET" ? undefined : BODIES.find(([shape]) => shape.test(route.path))?.[1];
  const body = route.body === undefined ? {} : { body: route.body };
  return gatehouse.call(route.method, path, { token, ...(special ?? body) });
}

describe("every route that is not open to all", () => {
  test("is there: the things that hold data are all guarded", () => {
    expect(guarded.length).toBeGreaterThan(40);
    const kept = /^\/api\/v1\/(project|jobs|job-runs|operations|webhooks)\b|^(\/deployments)?\/databases\b/;
    expect(routes.filter(({ path, scopes }) => kept.test(path) && scopes === null)).toEqual([]);
  });

  test("is walked with an id of a real thing, where it takes one", () => {
    const named = guarded.filter(
      ({ path, pathParameters }) =>
        pathParameters.some((name) => name !== "projectid" && name !== "engine") && !OF_PLATFORM.test(path),
    );
    expect(named.filter(({ path }) => thingOf(path) === undefined).map(({ name }) => name)).toEqual([]);
    expect(Object.values(things)).not.toContain("");
  });

  test("answers 401 and a challenge without a token, whatever else is asked, HEAD included", async () => {
    const wrong: string[] = [];
    for (const route of guarded) {
      // A download is not made to be thrown away: there is no HEAD of it.
      const withHead = route.method === "GET" && !route.path.endsWith("/download");
      for (const method of withHead ? ["GET", "HEAD"] : [route.method]) {
        const answer = await gatehouse.call(method, pathOf(route, things), { token: null, body: {} });
        const challenge = answer.headers["www-authenticate"] ?? "";
        if (answer.status !== 401 || !/^Bearer\b/.test(challenge))
          wrong.push(`${method} ${route.name}: ${answer.status}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('answers 401 with error="invalid_token" to a token that is none of ours', async () => {
    const token = await gatehouse.token();
    const forged = `${token.slice(0, token.lastIndexOf(".") + 1)}${"A".repeat(86)}`;
    const wrong: string[] = [];
    for (const route of guarded.slice(0, 5)) {
      for (const presented of [forged, "x.y.z", "x", token.slice(0, -2)]) {
        const answer = await send(route, pathOf(route, things), presented);
        const challenge = answer.headers["www-authenticate"] ?? "";
        if (answer.status !== 401 || !challenge.includes('error="invalid_token"'))
          wrong.push(`${route.name}: ${challenge}`);
        // The challenge is the header's; the body says the same in the dialect's words.
        if (answer.text.includes("resource_metadata")) wrong.push(`${route.name}: ${answer.text}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("answers 403 and names the scope to a token that has every scope but its own", async () => {
    const wrong: string[] = [];
    for (const route of guarded.filter(({ scopes }) => (scopes ?? []).length > 0)) {
      const needed = route.scopes ?? [];
      const token = await tokenWith(TENANT_SCOPES.filter((scope) => !needed.includes(scope)));
      const answer = await send(route, pathOf(route, things), token);
      const challenge = answer.headers["www-authenticate"] ?? "";
      const right =
        challenge.includes('error="insufficient_scope"') && challenge.includes(`scope="${needed.join(" ")}"`);
      if (answer.status !== 403 || !right) wrong.push(`${route.name}: ${answer.status} ${challenge}`);
    }
    expect(wrong).toEqual([]);
  });

  test("lets in a token that has its scope alone", async () => {
    const wrong: string[] = [];
    for (const route of guarded.filter(({ method }) => method !== "DELETE")) {
      const needed = (route.scopes ?? []) as Scope[];
      // Where any caller will do, one with a scope that is of no use.
      const token = await tokenWith(needed.length === 0 ? ["status:read"] : needed);
      const answer = await send(route, pathOf(route, things), token);
      const challenge = answer.headers["www-authenticate"] ?? "";
      // What the body asks for may need one more, which is named then.
      const asks = /scope="([^"]*)"/.exec(challenge)?.[1]?.split(" ") ?? [...needed];
      const lacksMore = answer.status === 403 && !asks.some((scope) => needed.includes(scope as Scope));
      if ((answer.status === 401 || answer.status === 403) && !lacksMore) {
        wrong.push(`${route.name}: ${answer.status} ${answer.text}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

const clients = new Map<string, Promise<Credentials>>();

async function tokenWith(scopes: readonly Scope[]): Promise<string> {
  const known = clients.get(scopes.join()) ?? gatehouse.createClient({ scopes });
  clients.set(scopes.join(), known);
  return gatehouse.token(await known);
}

describe.each([
  ["another organization's client", false],
  ["a client that is limited to another project", true],
])("to %s", (_who, sameOrganization) => {
  let token: string;
  let own: TestProject;

  beforeAll(async () => {
    if (sameOrganization) {
      own = await gatehouse.createProject();
      token = await gatehouse.token(await gatehouse.createClient({ projects: [own.id] }));
    } else {
      const other = await gatehouse.createOrganization();
      own = other.project;
      token = await gatehouse.token(other.client);
    }
  });

  const withIds = () =>
    guarded.filter(({ path, pathParameters, scopes }) => {
      const beyond = EXTRA_SCOPES.some((scope) => scopes?.includes(scope));
      const shared = sameOrganization && OF_ORGANIZATION.test(path);
      return pathParameters.some((name) => name !== "engine") && !beyond && !shared;
    });

  test("what exists answers exactly as what does not: 404", async () => {
    const wrong: string[] = [];
    for (const route of withIds()) {
      const path = pathOf(route, things);
      const answer = await send(route, path, token);
      const absent = pathOf(route, nothing());
      const control = await send(route, absent, token);
      const same = plain(answer.text, path) === plain(control.text, absent);
      if (answer.status !== 404 || !same)
        wrong.push(`${route.name}: ${answer.status} ${answer.text} ${control.text}`);
    }
    expect(wrong).toEqual([]);
  });

  test("what exists is not found through their own project either", async () => {
    const wrong: string[] = [];
    for (const route of withIds().filter(({ pathParameters }) => pathParameters.length > 1)) {
      const path = pathOf(route, { ...things, project: String(own.number) });
      const answer = await send(route, path, token);
      if (answer.status !== 404) wrong.push(`${route.name}: ${answer.status} ${answer.text}`);
    }
    expect(wrong).toEqual([]);
  });

  test("no list shows anything of it", async () => {
    const wrong: string[] = [];
    const mine = { ...things, project: String(own.number) };
    const { server: _server, project: _project, source: _source, ...secretive } = things;
    const { destination: _destination, job: _job, ...ids } = secretive;
    const hints = [...NAMES, ...Object.values(ids)];
    if (!sameOrganization) hints.push(things.server, gatehouse.organizationId, "hidden-");
    const lists = guarded.filter(({ method, path }) => method === "GET" && !/\{(id|jobid|name)\}/.test(path));
    for (const route of lists) {
      const answer = await send(route, pathOf(route, mine), token);
      const found = hints.filter((hint) => answer.text.includes(hint));
      if (found.length > 0) wrong.push(`${route.name}: ${found.join()}`);
    }
    expect(lists.length).toBeGreaterThan(4);
    expect(wrong).toEqual([]);
  });
});

/** An answer without what differs between any two requests. */
function plain(text: string, url: string): string {
  const path = url.replace(/\?.*/, "");
  return text.replaceAll(path, "PATH").replaceAll(/"requestId":"[^"]*"/g, "");
}

test("a client that is limited to the project itself sees all of it", async () => {
  const client = await gatehouse.createClient({ projects: [gatehouse.project.id] });
  const token = await gatehouse.token(client);
  const paths = [
    `/api/v1/operations/${things.operation}`,
    `/api/v1/jobs/${things.jobId}`,
    `/api/v1/job-runs/${things.run}`,
    `/api/v1/webhooks/${things.webhook}/deliveries/${things.delivery}`,
    `/api/v1/project/default/jobs/${things.job}/tasks`,
  ];
  for (const path of paths) expect((await gatehouse.call("GET", path, { token })).status, path).toBe(200);
});
