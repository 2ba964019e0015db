import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TOPICS } from "../../../src/auth/scopes.js";
import { type Installation, openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import { auditOf, type Caller, callerOf, callerWith, formCaller, statusOf } from "./support.js";

interface KeyAnswer {
  readonly id: string;
  readonly name: string;
  readonly apiKey?: string;
  readonly prefix: string;
  readonly permissionAllRead: boolean;
  readonly permissionAllWrite: boolean;
  readonly permissions: readonly {
    readonly topic: string;
    readonly read: boolean;
    readonly write: boolean;
  }[];
  readonly locked: string | null;
  readonly disabled: boolean;
  readonly createdAt: number;
  readonly expiresAt: number | null;
}

interface One {
  readonly apiKey: KeyAnswer;
}

interface Failure {
  readonly error: { readonly code: string; readonly message: string };
}

let gatehouse: Installation;
let admin: Caller;

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  admin = await callerOf(gatehouse);
});
afterAll(() => gatehouse.close());

async function make(body: object = {}): Promise<KeyAnswer> {
  const made = await admin<One>("POST", "/api/v1/apiKey", { name: "a key", ...body });
  statusOf(made, 200);
  return made.body.apiKey;
}

/** What a key may do, in short. */
const allowed = ({ permissions }: KeyAnswer) =>
  permissions.flatMap(({ topic, read, write }) => [
    ...(read ? [`${topic}:read`] : []),
    ...(write ? [`${topic}:write`] : []),
  ]);

const use = (key: string, path = "/api/v1/projects") => gatehouse.call("GET", path, { token: key });

describe("creating", () => {
  test("answers the key once: it can be told from a token, and only its beginning is kept", async () => {
    const made = await admin<One>("POST", "/api/v1/apiKey", {
      id: "production",
      name: "production",
      permissions: [{ topic: "project", read: true }],
    });
    statusOf(made, 200);
    expect(made.headers["cache-control"]).toBe("no-store");
    const { apiKey } = made.body;
    expect(apiKey.apiKey).toMatch(/^gh_[A-Za-z0-9_-]{43}$/);
    expect(apiKey.apiKey?.startsWith(apiKey.prefix)).toBe(true);
    expect(apiKey).toMatchObject({
      id: "production",
      permissionAllRead: false,
      permissionAllWrite: false,
      locked: null,
      lastUsedAt: null,
      expiresAt: null,
    });
    expect(apiKey.createdAt).toBeGreaterThan(Date.now() - 60_000);
    expect(allowed(apiKey)).toEqual(["project:read"]);
    expect(apiKey.permissions.map(({ topic }) => topic)).toEqual([...TOPICS]);
    const read = await admin<One>("GET", "/api/v1/apiKey/production");
    expect(read.body.apiKey).toEqual({ ...apiKey, apiKey: undefined });
    const stored = JSON.stringify(
      await gatehouse.database.query("SELECT *, encode(hash, 'hex') FROM api_keys"),
    );
    expect(stored + gatehouse.log.join("")).not.toContain(apiKey.apiKey);
  });

  test("makes up an id where none is chosen, and refuses one that is taken", async () => {
    expect((await make()).id).toMatch(/^key_[0-9a-f-]{36}$/);
    await make({ id: "once" });
    const twice = await admin<Failure>("POST", "/api/v1/apiKey", { id: "once", name: "x" });
    statusOf(twice, 409);
    expect(twice.body.error).toMatchObject({ code: "conflict" });
    expect(twice.body.error.message).toContain("once");
  });

  test("takes a form with JSON text and booleans as text", async () => {
    const form = await formCaller(gatehouse);
    const made = await form<One>("POST", "/api/v1/apiKey", {
      name: "by form",
      permissionAllRead: "true",
      permissionAllWrite: "false",
      permissions: JSON.stringify([{ topic: "app", write: true }]),
      projects: '["default"]',
      expiresAt: String(Date.now() + 3_600_000),
    });
    statusOf(made, 200);
    expect(made.body.apiKey).toMatchObject({ permissionAllRead: true, projects: [gatehouse.project.id] });
    expect(allowed(made.body.apiKey).filter((scope) => scope.endsWith(":write"))).toEqual(["app:write"]);
    const changed = await form<One>("PUT", `/api/v1/apiKey/${made.body.apiKey.id}`, { expiresAt: "" });
    expect(changed.body.apiKey.expiresAt).toBe(null);
  });

  test("never writes the field that a key is sent in anywhere", async () => {
    const made = await make({ apiKey: "gh_somebody's own key that must not be kept" });
    const events = await auditOf(gatehouse, await uuidOf(made.id));
    expect(JSON.stringify(events)).not.toContain("somebody's own");
    expect(made.apiKey).not.toContain("somebody");
  });

  test.each([
    ["no name", { name: undefined }],
    ["an id with a slash", { id: "a/b" }],
    ["a topic that is none", { permissions: [{ topic: "nothing", read: true }] }],
    ["permissions that are no list", { permissions: "all" }],
    ["a boolean as text", { permissionAllRead: "true" }],
    ["an end in the past", { expiresAt: 1 }],
    ["a project that is none", { projects: ["nowhere"] }],
  ])("refuses %s with 400 in the shape of the dialect", async (_what, wrong) => {
    const answer = await admin<Failure>("POST", "/api/v1/apiKey", { name: "x", ...wrong });
    statusOf(answer, 400);
    expect(answer.body.error).toMatchObject({ code: "invalid_request", message: expect.any(String) });
  });
});

async function uuidOf(key: string): Promise<string> {
  const [row] = await gatehouse.database.query<{ id: string }>("SELECT id FROM api_keys WHERE key = $1", [
    key,
  ]);
  return row?.id ?? "";
}

describe("permissions", () => {
  test.each<[string, object, object, string[]]>([
    [
      "one more",
      { permissions: [{ topic: "app", read: true }] },
      { permissions: [{ topic: "run", read: true }] },
      ["app:read", "run:read"],
    ],
    [
      "one less",
      { permissions: [{ topic: "app", read: true, write: true }] },
      { permissions: [{ topic: "app", write: false }] },
      ["app:read"],
    ],
    ["all taken back", { permissionAllRead: true }, { permissionAllRead: false }, []],
    [
      "all taken back but one",
      { permissionAllWrite: true },
      { permissionAllWrite: false, permissions: [{ topic: "app", write: true }] },
      ["app:write"],
    ],
    [
      "nothing said of them",
      { permissions: [{ topic: "app", read: true }] },
      { name: "another" },
      ["app:read"],
    ],
  ])("%s", async (_what, first, change, wanted) => {
    const { id } = await make(first);
    const changed = await admin<One>("PUT", `/api/v1/apiKey/${id}`, change);
    statusOf(changed, 200);
    expect(allowed(changed.body.apiKey)).toEqual(wanted);
  });

  test("of all topics are all that a tenant can grant", async () => {
    const made = await make({ permissionAllRead: true, permissionAllWrite: true });
    expect(allowed(made)).toHaveLength(TOPICS.length * 2);
  });

  test("are listed with what the caller may allow", async () => {
    const caller = await callerWith(gatehouse, { scopes: ["apiKey:read", "run:write"] });
    const list = await caller<{ permissions: KeyAnswer["permissions"]; total: number }>(
      "GET",
      "/api/v1/permissions",
    );
    expect(list.body.total).toBe(TOPICS.length);
    const mine = list.body.permissions.filter(({ read, write }) => read || write);
    expect(mine).toEqual([
      { topic: "run", read: false, write: true },
      { topic: "apiKey", read: true, write: false },
    ]);
  });
});

describe("a key", () => {
  test("opens what it is allowed, until it is disabled, and again when it is enabled", async () => {
    const made = await make({ permissions: [{ topic: "project", read: true }] });
    const key = made.apiKey ?? "";
    statusOf(await use(key), 200);
    statusOf(await use(key, "/api/v1/jobs"), 403);
    statusOf(await admin("PUT", `/api/v1/apiKey/${made.id}`, { disabled: true }), 200);
    await until("the key is refused", async () => (await use(key)).status === 401);
    statusOf(await admin("PUT", `/api/v1/apiKey/${made.id}`, { disabled: false }), 200);
    await until("the key is let in", async () => (await use(key)).status === 200);
  });

  test("opens nothing once it is deleted", async () => {
    const made = await make({ permissions: [{ topic: "project", read: true }] });
    statusOf(await use(made.apiKey ?? ""), 200);
    const gone = await admin("DELETE", `/api/v1/apiKey/${made.id}`);
    expect(gone.body).toEqual({ success: true });
    statusOf(await admin("GET", `/api/v1/apiKey/${made.id}`), 404);
    statusOf(await admin("DELETE", `/api/v1/apiKey/${made.id}`), 404);
    await until("the key is refused", async () => (await use(made.apiKey ?? "")).status === 401);
  });

  test("reaches the projects that it was given alone", async () => {
    const mine = await gatehouse.createProject();
    const made = await make({ permissions: [{ topic: "project", read: true }], projects: [mine.slug] });
    const list = await gatehouse.call<{ items: { id: string }[] }>("GET", "/api/v1/projects", {
      token: made.apiKey ?? "",
    });
    expect(list.body.items.map(({ id }) => id)).toEqual([mine.id]);
  });

  test("that is locked refuses every change, and says why", async () => {
    const made = await make();
    await gatehouse.database.query("UPDATE api_keys SET locked = 'config:code' WHERE key = $1", [made.id]);
    for (const [method, body] of [
      ["PUT", { name: "x" }],
      ["DELETE", undefined],
    ] as const) {
      const answer = await admin<Failure>(method, `/api/v1/apiKey/${made.id}`, body);
      statusOf(answer, 409);
      expect(answer.body.error.message).toContain("config:code");
    }
    expect((await admin<One>("GET", `/api/v1/apiKey/${made.id}`)).body.apiKey.locked).toBe("config:code");
  });
});

describe("lists", () => {
  test("have a total, an order and offsets that end", async () => {
    const other = await gatehouse.createOrganization();
    const caller = await callerOf(gatehouse, other.client);
    for (const name of ["beta", "alpha", "gamma"]) await caller("POST", "/api/v1/apiKey", { id: name, name });
    const names = async (query: string) => {
      const list = await caller<{ apiKeys: KeyAnswer[]; total: number }>("GET", `/api/v1/apiKeys${query}`);
      statusOf(list, 200);
      expect(list.body.total).toBe(3);
      return list.body.apiKeys.map(({ name }) => name);
    };
    expect(await names("")).toEqual(["beta", "alpha", "gamma"]);
    expect(await names("?order=name")).toEqual(["alpha", "beta", "gamma"]);
    expect(await names("?order=name:desc&limit=2")).toEqual(["gamma", "beta"]);
    expect(await names(`?order=${encodeURIComponent('[["name","desc"]]')}&offset=1`)).toEqual([
      "beta",
      "alpha",
    ]);
    for (const query of [
      "?order=hash",
      "?order=name:up",
      "?order=[",
      "?offset=10001",
      "?limit=0",
      "?order=constructor",
    ]) {
      statusOf(await caller("GET", `/api/v1/apiKeys${query}`), 400);
    }
  });

  test("and everything else keep another organization's keys, and those that reach further, to themselves", async () => {
    const made = await make({ id: "hidden" });
    const other = await gatehouse.createOrganization();
    const mine = await gatehouse.createProject();
    const strangers = [
      await callerOf(gatehouse, other.client),
      await callerWith(gatehouse, { projects: [mine.id] }),
    ];
    for (const stranger of strangers) {
      statusOf(await stranger("GET", `/api/v1/apiKey/${made.id}`), 404);
      statusOf(await stranger("PUT", `/api/v1/apiKey/${made.id}`, { name: "x" }), 404);
      statusOf(await stranger("DELETE", `/api/v1/apiKey/${made.id}`), 404);
      const list = await stranger<{ apiKeys: KeyAnswer[]; total: number }>("GET", "/api/v1/apiKeys");
      expect(list.body).toEqual({ apiKeys: [], total: 0 });
    }
    const theirs = strangers[0];
    expect((await theirs?.("POST", "/api/v1/apiKey", { id: "hidden", name: "ours" }))?.status).toBe(200);
  });
});

test("every change is written down, and no key is", async () => {
  const made = await make();
  const id = await uuidOf(made.id);
  await admin("PUT", `/api/v1/apiKey/${made.id}`, { permissionAllRead: true });
  await admin("DELETE", `/api/v1/apiKey/${made.id}`);
  const events = await auditOf(gatehouse, id);
  expect(events.map(({ action }) => action)).toEqual(["apiKey.create", "apiKey.update", "apiKey.delete"]);
  expect(JSON.stringify(events)).not.toContain(made.apiKey);
});

describe("paths and bodies that are none", () => {
  test("fail in the shape of the dialect that owns the path", async () => {
    const nowhere = await admin<Failure>("GET", "/api/v1/apiKey/a/b/c");
    statusOf(nowhere, 404);
    expect(nowhere.body.error.code).toBe("not_found");
    const refused = await gatehouse.call<Failure>("GET", "/api/v1/apiKeys", { token: null });
    statusOf(refused, 401);
    expect(refused.body.error.code).toBe("unauthenticated");
    const core = await gatehouse.call<{ code: string }>("GET", "/api/v1/apiKeysX", {});
    expect(core.body.code).toBe("not_found");
  });
});
