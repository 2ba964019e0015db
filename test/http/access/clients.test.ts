import { generateKeyPairSync } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation.js";
import {
  askToken,
  auditOf,
  type Caller,
  type ClientAnswer,
  callerOf,
  callerWith,
  generationOf,
  type ProblemAnswer,
  statusOf,
  untilRefused,
  untilToken,
} from "./support.js";

let gatehouse: Installation;
let admin: Caller;

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  admin = await callerOf(gatehouse);
});
afterAll(() => gatehouse.close());

async function make(body: object = {}): Promise<ClientAnswer> {
  const made = await admin<ClientAnswer>("POST", "/api/v1/clients", {
    name: "a client",
    scopes: ["job:read", "client:read"],
    ...body,
  });
  statusOf(made, 201);
  return made.body;
}

async function tokenOf(client: ClientAnswer): Promise<string> {
  const answer = await askToken(gatehouse, client);
  statusOf(answer, 200);
  return answer.body.access_token ?? "";
}

const publicJwk = (kid?: string) => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...publicKey.export({ format: "jwk" }), ...(kid === undefined ? {} : { kid }) };
};

describe("creating", () => {
  test("answers the secret once, and the client gets tokens with it", async () => {
    const made = await admin<ClientAnswer>("POST", "/api/v1/clients", {
      name: "nightly",
      scopes: ["job:read"],
      projects: ["default"],
    });
    statusOf(made, 201);
    expect(made.headers["location"]).toBe(`/api/v1/clients/${made.body.id}`);
    expect(made.headers["cache-control"]).toBe("no-store");
    expect(made.body).toMatchObject({
      name: "nightly",
      scopes: ["job:read"],
      allProjects: false,
      projects: [gatehouse.project.id],
      grantTypes: ["client_credentials"],
      tokenLifetime: null,
      expiresAt: null,
      disabled: false,
      lastUsedAt: null,
    });
    expect((await askToken(gatehouse, made.body)).status).toBe(200);
    const read = await admin("GET", `/api/v1/clients/${made.body.id}`);
    expect(read.text).not.toContain(made.body.clientSecret);
    expect(read.body).toEqual({ ...made.body, clientSecret: undefined });
  });

  test("names no project: the client reaches what its creator reaches", async () => {
    expect(await make()).toMatchObject({ allProjects: true, projects: [] });
  });

  test("stores the full tenant grant by its name", async () => {
    const made = await make({ scopes: ["service", "job:read", "production:destructive"] });
    expect(made.scopes).toEqual(["service", "production:destructive"]);
  });

  test.each([
    ["a name that is missing", { name: undefined }, "/name"],
    ["an unknown field", { secret: "mine" }, "/secret"],
    ["an unknown scope", { scopes: ["job:read", "job:admin"] }, "/scopes/1"],
    ["a project that is none", { projects: ["default", "nowhere"] }, "/projects/1"],
    ["projects besides all", { allProjects: true, projects: ["default"] }, "/projects"],
    ["some projects, and none named", { allProjects: false }, "/projects"],
    ["a lifetime below a minute", { tokenLifetime: 59 }, "/tokenLifetime"],
    ["a lifetime above 30 days", { tokenLifetime: 2_592_001 }, "/tokenLifetime"],
    ["a lifetime as text", { tokenLifetime: "3600" }, "/tokenLifetime"],
    ["an end in the past", { expiresAt: "2020-01-01T00:00:00Z" }, "/expiresAt"],
    ["a leap second", { expiresAt: "2099-12-31T23:59:60Z" }, "/expiresAt"],
    ["an end in the year 10000", { expiresAt: "9999-12-31T23:59:59-12:00" }, "/expiresAt"],
    ["a grant type that is none", { grantTypes: ["implicit"] }, "/grantTypes/0"],
    ["no grant type", { grantTypes: [] }, "/grantTypes"],
  ])("refuses %s with 400 that names the field", async (_what, wrong, path) => {
    const body = { name: "x", scopes: ["job:read"], ...wrong };
    const answer = await admin("POST", "/api/v1/clients", body);
    statusOf(answer, 400);
    expect(answer.body.errors?.map((error) => error.path)).toContain(path);
  });
});

describe("keys of a client's own", () => {
  test("stand for the secret: none is made, and none can be added", async () => {
    const made = await make({ jwks: { keys: [publicJwk()] } });
    expect(made).toMatchObject({ clientSecret: null, secrets: [], jwks: { keys: [{ kty: "EC" }] } });
    const added = await admin("POST", `/api/v1/clients/${made.id}/secrets`);
    statusOf(added, 409);
  });

  test("are public: a private or secret one is refused, and not stored", async () => {
    const { privateKey } = generateKeyPairSync("ed25519");
    const short = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "jwk" });
    const wrong: object[] = [
      privateKey.export({ format: "jwk" }),
      { kty: "oct", k: "c2VjcmV0" },
      short,
      { kty: "EC", crv: "secp256k1", x: "AA", y: "AA" },
      { kty: "EC", crv: "P-256", x: "AA", y: "AA" },
      { ...publicJwk(), use: "enc" },
      { ...publicJwk(), alg: "HS256" },
      { kty: "RSA" },
    ];
    for (const key of wrong) {
      const answer = await admin("POST", "/api/v1/clients", {
        name: "x",
        scopes: [],
        jwks: { keys: [key] },
      });
      expect([JSON.stringify(key).slice(0, 60), answer.status]).toEqual([
        JSON.stringify(key).slice(0, 60),
        400,
      ]);
      expect(answer.body.errors?.[0]?.path).toBe("/jwks/keys/0");
    }
    const several = await admin("POST", "/api/v1/clients", {
      name: "x",
      scopes: [],
      jwks: { keys: [publicJwk("a"), publicJwk("a")] },
    });
    statusOf(several, 400);
  });

  test("are kept as far as they are public key: nothing else that was sent is stored", async () => {
    const made = await make({ jwks: { keys: [{ ...publicJwk(), note: "x", x5u: "http://localhost/" }] } });
    expect(JSON.stringify(made)).not.toContain("x5u");
  });

  test("that are taken away end the tokens; more of them do not", async () => {
    const [a, b] = [publicJwk("a"), publicJwk("b")];
    const { id } = await make({ jwks: { keys: [a] } });
    statusOf(await admin("PATCH", `/api/v1/clients/${id}`, { jwks: { keys: [b, a] } }), 200);
    expect(await generationOf(gatehouse, "api_clients", id)).toBe(1);
    statusOf(await admin("PATCH", `/api/v1/clients/${id}`, { jwks: { keys: [b] } }), 200);
    expect(await generationOf(gatehouse, "api_clients", id)).toBe(2);
  });

  test("that replace secrets end these", async () => {
    const made = await make();
    const changed = await admin<ClientAnswer>("PATCH", `/api/v1/clients/${made.id}`, {
      jwks: { keys: [publicJwk()] },
    });
    expect(changed.body.secrets).toEqual([]);
    await untilToken(gatehouse, made, 401);
  });
});

describe("changing", () => {
  test.each<[string, object, object, boolean]>([
    ["the name", {}, { name: "another" }, false],
    ["more scopes", {}, { scopes: ["job:read", "job:write", "client:read"] }, false],
    ["fewer scopes", {}, { scopes: ["job:read"] }, true],
    ["other scopes", {}, { scopes: ["job:write"] }, true],
    ["fewer projects", {}, { projects: ["default"] }, true],
    ["more projects", { projects: ["default"] }, { allProjects: true }, false],
    ["a shorter lifetime", {}, { tokenLifetime: 60 }, false],
    ["an end to come", {}, { expiresAt: "2099-01-01T00:00:00.000Z" }, false],
    ["an end that has been", {}, { expiresAt: "2020-01-01T00:00:00.000Z" }, true],
    ["a bound to DPoP", {}, { dpopBound: true }, true],
    ["no bound to DPoP", { dpopBound: true }, { dpopBound: false }, false],
    [
      "the password grant taken away",
      { grantTypes: ["client_credentials", "password"] },
      { grantTypes: ["client_credentials"] },
      true,
    ],
    ["nothing", {}, {}, false],
  ])("%s: tokens end where something is taken away", async (_what, first, change, ends) => {
    const made = await make(first);
    const answer = await admin<ClientAnswer>("PATCH", `/api/v1/clients/${made.id}`, change);
    statusOf(answer, 200);
    const projects = "projects" in change ? { projects: [gatehouse.project.id] } : {};
    expect(answer.body).toMatchObject({ ...change, ...projects });
    expect(await generationOf(gatehouse, "api_clients", made.id)).toBe(ends ? 2 : 1);
  });

  test("a client whose end has come and that lives again: its old tokens stay dead", async () => {
    const made = await make();
    await gatehouse.database.query(
      "UPDATE api_clients SET expires_at = now() - interval '1 hour' WHERE id = $1",
      [made.id],
    );
    statusOf(await admin("PATCH", `/api/v1/clients/${made.id}`, { expiresAt: null }), 200);
    expect(await generationOf(gatehouse, "api_clients", made.id)).toBe(2);
  });

  test("narrowed scopes refuse the token that is out", async () => {
    const made = await make();
    const token = await tokenOf(made);
    statusOf(await gatehouse.call("GET", "/api/v1/clients", { token }), 200);
    statusOf(await admin("PATCH", `/api/v1/clients/${made.id}`, { scopes: ["client:read"] }), 200);
    await untilRefused(gatehouse, token);
  });

  test("refuses unknown fields, and states", async () => {
    const { id } = await make();
    for (const body of [
      { expiresAt: "0000-01-01T00:00:00Z" },
      { generation: 1 },
      { disabled: true },
      { clientId: "x" },
      { organizationId: "x" },
    ]) {
      statusOf(await admin("PATCH", `/api/v1/clients/${id}`, body), 400);
    }
  });

  test("finds a client by its client_id too", async () => {
    const made = await make();
    const answer = await admin<ClientAnswer>("GET", `/api/v1/clients/${made.clientId}`);
    expect(answer.body.id).toBe(made.id);
  });
});

describe("disabling", () => {
  test("ends tokens and gives none; enabling brings neither back but new ones", async () => {
    const made = await make();
    const token = await tokenOf(made);
    const disabled = await admin<ClientAnswer>("POST", `/api/v1/clients/${made.id}/disable`);
    expect(disabled.body.disabled).toBe(true);
    await untilRefused(gatehouse, token);
    await untilToken(gatehouse, made, 401);
    const enabled = await admin<ClientAnswer>("POST", `/api/v1/clients/${made.id}/enable`);
    expect(enabled.body.disabled).toBe(false);
    await untilToken(gatehouse, made, 200);
    statusOf(await gatehouse.call("GET", "/api/v1/clients", { token }), 401);
  });

  test("twice is the same as once", async () => {
    const { id } = await make();
    for (const action of ["disable", "disable", "enable", "enable"]) {
      statusOf(await admin("POST", `/api/v1/clients/${id}/${action}`), 200);
    }
    expect(await generationOf(gatehouse, "api_clients", id)).toBe(2);
    const actions = (await auditOf(gatehouse, id)).map(({ action }) => action);
    expect(actions).toEqual(["client.create", "client.disable", "client.enable"]);
  });
});

test("a deleted client is gone, and so are its tokens", async () => {
  const made = await make();
  const token = await tokenOf(made);
  const gone = await admin("DELETE", `/api/v1/clients/${made.id}`);
  statusOf(gone, 204);
  expect(gone.text).toBe("");
  statusOf(await admin("GET", `/api/v1/clients/${made.id}`), 404);
  statusOf(await admin("DELETE", `/api/v1/clients/${made.id}`), 404);
  await untilRefused(gatehouse, token);
});

describe("secrets", () => {
  const secretsOf = (id: string) => `/api/v1/clients/${id}/secrets`;
  const add = (id: string, body?: object) =>
    admin<ClientAnswer & ProblemAnswer & { expiresAt: string | null }>("POST", secretsOf(id), body);

  test("a second one works beside the first, which has a day left", async () => {
    const made = await make();
    const token = await tokenOf(made);
    const added = await add(made.id);
    statusOf(added, 201);
    expect(added.headers["cache-control"]).toBe("no-store");
    const [first, second] = added.body.secrets;
    expect(second).toMatchObject({ id: added.body.id, expiresAt: null });
    const left = new Date(first?.expiresAt ?? "").getTime() - Date.now();
    expect(left / 3_600_000).toBeCloseTo(24, 1);
    await untilToken(gatehouse, { ...made, clientSecret: added.body.clientSecret }, 200);
    expect((await askToken(gatehouse, made)).status).toBe(200);
    statusOf(await gatehouse.call("GET", "/api/v1/clients", { token }), 200);
  });

  test("a third one is refused while two are live, naming them", async () => {
    const made = await make();
    const added = await add(made.id);
    const third = await add(made.id);
    statusOf(third, 409);
    expect(third.body.detail).toContain(added.body.id);
  });

  test("one whose grace is over counts no more, and is cleared away", async () => {
    const made = await make();
    const second = await add(made.id, { graceSeconds: 3600 });
    await gatehouse.database.query(
      "UPDATE api_client_secrets SET expires_at = now() - interval '1 minute' WHERE client_id = $1 AND expires_at IS NOT NULL",
      [made.id],
    );
    const third = await add(made.id, { graceSeconds: 60 });
    statusOf(third, 201);
    expect(third.body.secrets.map(({ id }) => id)).toEqual([second.body.id, third.body.id]);
  });

  test("without grace the first one ends at once, and the tokens with it", async () => {
    const made = await make();
    const token = await tokenOf(made);
    const added = await add(made.id, { graceSeconds: 0 });
    statusOf(added, 201);
    expect(added.body.secrets).toHaveLength(1);
    await untilToken(gatehouse, made, 401);
    await untilRefused(gatehouse, token);
    await untilToken(gatehouse, { ...made, clientSecret: added.body.clientSecret }, 200);
  });

  test("a removed one gives no token, and the tokens that are out end", async () => {
    const made = await make();
    const token = await tokenOf(made);
    const added = await add(made.id);
    const first = made.secrets[0]?.id ?? "";
    statusOf(await admin("DELETE", `${secretsOf(made.id)}/${first}`), 204);
    statusOf(await admin("DELETE", `${secretsOf(made.id)}/${first}`), 404);
    await untilToken(gatehouse, made, 401);
    await untilRefused(gatehouse, token);
    await untilToken(gatehouse, { ...made, clientSecret: added.body.clientSecret }, 200);
  });

  test("of another client is not found through this one", async () => {
    const [one, other] = [await make(), await make()];
    const secret = other.secrets[0]?.id ?? "";
    statusOf(await admin("DELETE", `${secretsOf(one.id)}/${secret}`), 404);
    statusOf(await admin("DELETE", `${secretsOf(one.id)}/not-an-id`), 404);
  });

  test.each([
    [{ graceSeconds: -1 }],
    [{ graceSeconds: 2_592_001 }],
    [{ graceSeconds: "60" }],
    [{ grace: 1 }],
  ])("refuses %j with 400", async (body) => {
    const { id } = await make();
    statusOf(await add(id, body), 400);
  });
});

test("two secrets that are asked for at the same time: one is made", async () => {
  const { id } = await make();
  const url = `/api/v1/clients/${id}/secrets`;
  const answers = await Promise.all([1, 2, 3].map(() => admin("POST", url)));
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
});

describe("lists", () => {
  test("go by cursor through all that the caller may see, once each", async () => {
    const made = [await make(), await make(), await make()];
    const seen: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const query: string = cursor === "" ? "?limit=2" : `?limit=2&cursor=${cursor}`;
      const page = await admin<{ items: ClientAnswer[]; nextCursor: string | null }>(
        "GET",
        `/api/v1/clients${query}`,
      );
      seen.push(...page.body.items.map(({ id }) => id));
      cursor = page.body.nextCursor;
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(expect.arrayContaining(made.map(({ id }) => id)));
    statusOf(await admin("GET", "/api/v1/clients?cursor=eA"), 400);
    statusOf(await admin("GET", "/api/v1/clients?limit=201"), 400);
  });

  test("show a caller that is limited to projects only clients that reach no others", async () => {
    const mine = await gatehouse.createProject();
    const limited = await callerWith(gatehouse, { projects: [mine.id] });
    const own = await make({ projects: [mine.slug] });
    const both = await make({ projects: [mine.slug, "default"] });
    const list = await limited<{ items: ClientAnswer[] }>("GET", "/api/v1/clients?limit=200");
    const ids = list.body.items.map(({ id }) => id);
    expect(ids).toContain(own.id);
    expect(ids).not.toContain(both.id);
    expect(list.body.items.every(({ allProjects }) => !allProjects)).toBe(true);
    statusOf(await limited("GET", `/api/v1/clients/${both.id}`), 404);
    statusOf(await limited("POST", `/api/v1/clients/${both.id}/disable`), 404);
    statusOf(await limited("POST", `/api/v1/clients/${own.id}/disable`), 200);
  });
});

test("another organization's clients do not exist", async () => {
  const other = await gatehouse.createOrganization();
  const stranger = await callerOf(gatehouse, other.client);
  const made = await make();
  const urls: [Parameters<Caller>[0], string, object?][] = [
    ["GET", ""],
    ["PATCH", "", { name: "mine" }],
    ["DELETE", ""],
    ["POST", "/disable"],
    ["POST", "/enable"],
    ["POST", "/secrets"],
    ["DELETE", `/secrets/${made.secrets[0]?.id}`],
  ];
  for (const reference of [made.id, made.clientId]) {
    for (const [method, rest, body] of urls) {
      statusOf(await stranger(method, `/api/v1/clients/${reference}${rest}`, body), 404);
    }
  }
  expect((await askToken(gatehouse, made)).status).toBe(200);
});

test("every change is written down with who made it, and no secret is", async () => {
  const made = await make();
  const added = await admin<ClientAnswer>("POST", `/api/v1/clients/${made.id}/secrets`);
  await admin("PATCH", `/api/v1/clients/${made.id}`, { scopes: ["job:read"] });
  await admin("DELETE", `/api/v1/clients/${made.id}`);
  const events = await auditOf(gatehouse, made.id);
  expect(events.map(({ action, actor_name }) => [action, actor_name])).toEqual(
    ["client.create", "client.secret.create", "client.update", "client.delete"].map((action) => [
      action,
      "administrator",
    ]),
  );
  const text = JSON.stringify(events) + gatehouse.log.join("");
  expect(text).not.toContain(made.clientSecret);
  expect(text).not.toContain(added.body.clientSecret);
});
