import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROLE_SCOPES } from "../../../src/auth/roles.js";
import { ALL_SCOPES, type Scope, TENANT_SCOPES } from "../../../src/auth/scopes.js";
import { type Installation, openInstallation } from "../../support/installation.js";
import {
  type Caller,
  type ClientAnswer,
  callerOf,
  callerWith,
  generationOf,
  type Method,
  statusOf,
} from "./support.js";

/**
 * Whoever manages credentials gains nothing by it: neither by what is made, nor by what is changed, nor by what is
 * got hold of.
 */
let gatehouse: Installation;
let admin: Caller;
/** May manage everything that opens doors, may read jobs, and reaches one project. */
let editor: Caller;
let mine: string;

const EDITOR: readonly Scope[] = [
  ...(["client", "apiKey", "user", "project", "resourceServer"] as const).flatMap((topic): Scope[] => [
    `${topic}:read`,
    `${topic}:write`,
  ]),
  "job:read",
];

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  admin = await callerOf(gatehouse);
  mine = (await gatehouse.createProject({ slug: "mine" })).id;
  editor = await callerWith(gatehouse, { scopes: EDITOR, projects: [mine] });
});
afterAll(() => gatehouse.close());

const password = "correct horse battery staple";
let count = 0;
const person = (more: object) => {
  count += 1;
  return { username: `person${count}`, email: `person${count}@example.com`, password, ...more };
};

describe("what is made never goes beyond its maker", () => {
  const tooMuch: [string, Method, string, () => object, string][] = [
    [
      "a client with another scope",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: ["job:write"] }),
      "job:write",
    ],
    [
      "a client with the tenant",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: ["service"] }),
      "app:read",
    ],
    [
      "a client that destroys in production",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: ["production:destructive"] }),
      "production:destructive",
    ],
    [
      "a client for the platform",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: ["platform:admin"] }),
      "platform:admin",
    ],
    [
      "a client for all projects",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: [], allProjects: true }),
      "all projects",
    ],
    [
      "a client for another project",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: [], projects: ["default"] }),
      "default",
    ],
    [
      "a client for a project that is none",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: [], projects: ["nowhere"] }),
      "nowhere",
    ],
    [
      "a client that takes people's passwords",
      "POST",
      "/api/v1/clients",
      () => ({ name: "x", scopes: [], grantTypes: ["password"] }),
      "administrator",
    ],
    [
      "a client of the deployments API",
      "POST",
      "/organizations/api-clients",
      () => ({ name: "x", environmentIds: ["mine"] }),
      "deployment:write",
    ],
    [
      "a key with another topic",
      "POST",
      "/api/v1/apiKey",
      () => ({ name: "x", permissions: [{ topic: "source", read: true }] }),
      "source:read",
    ],
    [
      "a key that reads all",
      "POST",
      "/api/v1/apiKey",
      () => ({ name: "x", permissionAllRead: true }),
      "source:read",
    ],
    [
      "a key for all projects",
      "POST",
      "/api/v1/apiKey",
      () => ({ name: "x", allProjects: true }),
      "all projects",
    ],
    ["an owner", "POST", "/api/v1/users", () => person({ role: "owner" }), "production:destructive"],
    ["an administrator", "POST", "/api/v1/users", () => person({ role: "admin" }), "user:"],
    ["an operator", "POST", "/api/v1/users", () => person({ role: "operator" }), "deployment:write"],
    ["a viewer", "POST", "/api/v1/users", () => person({}), "source:read"],
    ["a project", "POST", "/api/v1/projects", () => ({ slug: "another" }), "all projects"],
    ["a resource server", "POST", "/api/v1/resource-servers", () => ({ identifier: "mine" }), "all projects"],
  ];

  test.each(tooMuch)("%s: 403 that names what is beyond", async (_what, method, url, body, named) => {
    const answer = await editor<Record<string, unknown>>(method, url, body());
    statusOf(answer, 403);
    if (named !== "user:") expect(answer.text).toContain(named);
  });

  test("and what it has itself it may hand on", async () => {
    statusOf(await editor("POST", "/api/v1/clients", { name: "x", scopes: ["job:read"] }), 201);
    statusOf(await editor("POST", "/api/v1/clients", { name: "x", scopes: EDITOR, projects: ["mine"] }), 201);
    statusOf(
      await editor("POST", "/api/v1/apiKey", { name: "x", permissions: [{ topic: "job", read: true }] }),
      200,
    );
  });

  test("a project that is not reached is refused in the words of one that does not exist", async () => {
    const refuse = async (projects: string[]) =>
      (await editor<{ detail: string }>("POST", "/api/v1/clients", { name: "x", scopes: [], projects })).body
        .detail;
    expect((await refuse(["default"])).replaceAll("default", "X")).toBe(
      (await refuse(["nowhere"])).replaceAll("nowhere", "X"),
    );
  });

  test("a token of fewer scopes than its client hands on no more than the token", async () => {
    const client = await gatehouse.createClient();
    const answer = await gatehouse.call<{ access_token: string }>("POST", "/oauth/token", {
      token: null,
      body: {
        grant_type: "client_credentials",
        client_id: client.clientId,
        client_secret: client.clientSecret,
        scope: "client:write",
      },
    });
    const made = await gatehouse.call("POST", "/api/v1/clients", {
      token: answer.body.access_token,
      body: { name: "x", scopes: ["job:read"] },
    });
    statusOf(made, 403);
  });
});

describe("who has more is out of reach", () => {
  /** Every way to a client's power. */
  const ways: [string, Method, string, object?][] = [
    ["editing", "PATCH", "", { name: "mine" }],
    ["narrowing to what one has", "PATCH", "", { scopes: ["job:read"] }],
    ["giving it keys", "PATCH", "", { jwks: null }],
    ["adding a secret", "POST", "/secrets"],
    ["enabling", "POST", "/enable"],
    ["disabling", "POST", "/disable"],
    ["deleting", "DELETE", ""],
  ];

  test.each(ways)(
    "%s a client that may do more: 403, and nothing happens",
    async (_what, method, rest, body) => {
      const powerful = await admin<ClientAnswer>("POST", "/api/v1/clients", {
        name: "powerful",
        scopes: ["job:read", "job:write"],
        projects: ["mine"],
      });
      const url = `/api/v1/clients/${powerful.body.id}`;
      const answer = await editor(method, `${url}${rest}`, body);
      statusOf(answer, 403);
      expect(answer.body.scope).toBe("job:write");
      const after = await admin<ClientAnswer>("GET", url);
      expect(after.body).toEqual({ ...powerful.body, clientSecret: undefined });
      expect(await generationOf(gatehouse, "api_clients", powerful.body.id)).toBe(1);
    },
  );

  test.each([
    ["PUT" as const, "", { name: "mine" }],
    ["DELETE" as const, ""],
    ["POST" as const, "/refresh-secret"],
  ])("%s of the deployments API's client%s: 403", async (method, rest, body?) => {
    const powerful = await admin<ClientAnswer>("POST", "/organizations/api-clients", {
      name: "powerful",
      environmentIds: ["mine"],
    });
    statusOf(powerful, 201);
    const url = `/organizations/api-clients/${powerful.body.id}${rest}`;
    statusOf(await editor(method, url, body), 403);
  });

  test.each([
    ["PUT" as const, { name: "mine" }],
    ["PUT" as const, { permissionAllRead: false, permissionAllWrite: false }],
    ["PUT" as const, { disabled: false }],
    ["DELETE" as const, undefined],
  ])("%s %j of a key that may do more: 403", async (method, body) => {
    const made = await admin<{ apiKey: { id: string } }>("POST", "/api/v1/apiKey", {
      name: "powerful",
      permissionAllWrite: true,
      projects: ["mine"],
    });
    statusOf(await editor(method, `/api/v1/apiKey/${made.body.apiKey.id}`, body), 403);
  });

  test("a viewer of one project changes no resource server", async () => {
    const made = await admin<{ id: string }>("POST", "/api/v1/resource-servers", { identifier: "limited" });
    const url = `/api/v1/resource-servers/${made.body.id}`;
    statusOf(await editor("PATCH", url, { dialects: ["core"] }), 403);
    statusOf(await editor("DELETE", url), 403);
  });

  test("nor does one of the whole organization that has less than its tokens may hold", async () => {
    const some = await callerWith(gatehouse, { scopes: ["resourceServer:write", "job:read"] });
    const made = await admin<{ id: string }>("POST", "/api/v1/resource-servers", {
      identifier: "narrow",
      scopes: ["job:read"],
    });
    const url = `/api/v1/resource-servers/${made.body.id}`;
    statusOf(await some("PATCH", url, { scopes: ["job:read", "job:write"] }), 403);
    statusOf(await some("PATCH", url, { scopes: [] }), 200);
  });
});

describe("roles", () => {
  const roles = ["owner", "admin", "operator", "viewer"] as const;

  test("an administrator makes every role but an owner, and changes none", async () => {
    const acting = await callerWith(gatehouse, { scopes: [...ROLE_SCOPES.admin] });
    for (const role of roles) {
      const made = await acting("POST", "/api/v1/users", person({ role }));
      statusOf(made, role === "owner" ? 403 : 201);
    }
    const owner = await admin<{ id: string }>("POST", "/api/v1/users", person({ role: "owner" }));
    const url = `/api/v1/users/${owner.body.id}`;
    statusOf(await acting("PATCH", url, { email: "taken-over@example.com" }), 403);
    statusOf(await acting("PATCH", url, { role: "viewer" }), 403);
    statusOf(await acting("POST", `${url}/password`, { password }), 403);
    statusOf(await acting("DELETE", url), 403);
  });

  test("an administrator makes nobody an owner", async () => {
    const acting = await callerWith(gatehouse, { scopes: [...ROLE_SCOPES.admin] });
    const made = await acting<{ id: string }>("POST", "/api/v1/users", person({ role: "admin" }));
    statusOf(await acting("PATCH", `/api/v1/users/${made.body.id}`, { role: "owner" }), 403);
  });

  test("only an administrator of all projects allows the password grant", async () => {
    const body = { name: "x", scopes: [], grantTypes: ["client_credentials", "password"] };
    const limited = await callerWith(gatehouse, { scopes: TENANT_SCOPES, projects: [mine] });
    statusOf(await limited("POST", "/api/v1/clients", body), 403);
    const most = TENANT_SCOPES.filter((scope) => scope !== "webhook:write");
    const nearly = await callerWith(gatehouse, { scopes: most });
    statusOf(await nearly("POST", "/api/v1/clients", body), 403);
    const acting = await callerWith(gatehouse, { scopes: [...ROLE_SCOPES.admin] });
    statusOf(await acting("POST", "/api/v1/clients", body), 201);
  });

  test("each has what the one below it has, and none has the platform", () => {
    const platform = ALL_SCOPES.filter((scope) => scope.startsWith("platform:"));
    expect(platform.filter((scope) => ROLE_SCOPES.owner.has(scope))).toEqual([]);
    for (const [above, below] of [
      ["owner", "admin"],
      ["admin", "operator"],
      ["admin", "viewer"],
    ] as const) {
      const beyond = [...ROLE_SCOPES[below]].filter((scope) => !ROLE_SCOPES[above].has(scope));
      expect(beyond, `${below} beyond ${above}`).toEqual([]);
      expect(ROLE_SCOPES[above].size).toBeGreaterThan(ROLE_SCOPES[below].size);
    }
    expect([...ROLE_SCOPES.viewer].filter((scope) => scope.endsWith(":write"))).toEqual([]);
    const secret = ["client:read", "apiKey:read", "user:read", "auditEvent:read"] as const;
    for (const role of ["viewer", "operator"] as const) {
      expect(secret.filter((scope) => ROLE_SCOPES[role].has(scope))).toEqual([]);
    }
    expect(ROLE_SCOPES.owner.size).toBe(ALL_SCOPES.length - platform.length);
  });
});

describe("production", () => {
  test("a project's protection is lifted, and the project deleted, by who may destroy there alone", async () => {
    const made = await admin<{ id: string }>("POST", "/api/v1/projects", {
      slug: "precious",
      environment: "production",
    });
    const tenant = await callerWith(gatehouse, { scopes: TENANT_SCOPES });
    const url = `/api/v1/projects/${made.body.id}`;
    for (const environment of ["development", "staging"]) {
      statusOf(await tenant("PATCH", url, { environment }), 403);
    }
    statusOf(await tenant("PATCH", url, { name: "still production" }), 200);
    const refused = await tenant("DELETE", url);
    statusOf(refused, 403);
    expect(refused.body.scope).toBe("production:destructive");
    const destroyer = await callerWith(gatehouse, { scopes: [...TENANT_SCOPES, "production:destructive"] });
    statusOf(await destroyer("DELETE", url), 204);
  });

  test("what lives in it is deleted by who may destroy there alone, whatever else they may", async () => {
    statusOf(await admin("POST", "/api/v1/projects", { slug: "live", environment: "production" }), 201);
    const base = "/api/v1/project/live";
    const ends = (name: string) => ({
      name,
      type: "file",
      version: "1.0.0",
      config: { path: `${name}.csv` },
    });
    const job = {
      name: "job",
      source: ends("from"),
      destination: ends("to"),
      frequency: "",
      streams_config: {},
    };
    statusOf(await admin("POST", `${base}/jobs`, job), 200);
    const first = async (list: string): Promise<string> => {
      const { body } = await admin<{ data: { id: number }[] }>("GET", `${base}/${list}`);
      return `${base}/${list}/${body.data[0]?.id}`;
    };
    const urls = [await first("jobs"), await first("sources"), await first("destinations")];
    const tenant = await callerWith(gatehouse, { scopes: TENANT_SCOPES });
    const destroyer = await callerWith(gatehouse, { scopes: [...TENANT_SCOPES, "production:destructive"] });
    for (const url of urls) {
      const refused = await tenant("DELETE", url);
      statusOf(refused, 403);
      expect(refused.headers["www-authenticate"]).toContain('scope="production:destructive"');
      statusOf(await destroyer("DELETE", url), 200);
      statusOf(await tenant("DELETE", url), 404);
    }
  });
});
