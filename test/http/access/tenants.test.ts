import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation.js";
import {
  askToken,
  auditOf,
  type Caller,
  callerOf,
  callerWith,
  generationOf,
  statusOf,
  untilRefused,
} from "./support.js";

interface ProjectAnswer {
  readonly id: string;
  readonly number: number;
  readonly slug: string;
  readonly name: string;
  readonly environment: string;
}

interface ServerAnswer {
  readonly id: string;
  readonly identifier: string;
  readonly audience: string;
  readonly scopes: readonly string[];
  readonly dialects: readonly string[];
}

interface OrganizationAnswer {
  readonly id: string;
  readonly name: string;
  readonly disabled: boolean;
  readonly project: ProjectAnswer;
  readonly client: { readonly id: string; readonly clientId: string; readonly clientSecret: string };
}

let gatehouse: Installation;
let admin: Caller;

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  admin = await callerOf(gatehouse);
});
afterAll(() => gatehouse.close());

describe("projects", () => {
  const make = async (slug: string, more: object = {}): Promise<ProjectAnswer> => {
    const made = await admin<ProjectAnswer>("POST", "/api/v1/projects", { slug, ...more });
    statusOf(made, 201);
    return made.body;
  };

  test("are made with a name and an environment, and found by id, slug and number", async () => {
    const made = await make("billing", { name: "Billing", environment: "staging" });
    expect(made).toMatchObject({ slug: "billing", name: "Billing", environment: "staging" });
    for (const reference of [made.id, made.id.replaceAll("-", ""), made.slug, made.number]) {
      expect((await admin("GET", `/api/v1/projects/${reference}`)).body).toEqual(made);
    }
    expect(await make("plain")).toMatchObject({ name: "plain", environment: "development" });
  });

  test("have a slug of their own in the organization, and only there", async () => {
    await make("taken");
    statusOf(await admin("POST", "/api/v1/projects", { slug: "taken" }), 409);
    const other = await make("free");
    statusOf(await admin("PATCH", `/api/v1/projects/${other.id}`, { slug: "taken" }), 409);
    const elsewhere = await gatehouse.createOrganization();
    const stranger = await callerOf(gatehouse, elsewhere.client);
    statusOf(await stranger("POST", "/api/v1/projects", { slug: "taken" }), 201);
  });

  test.each([
    ["no slug", { name: "x" }],
    ["upper case", { slug: "Upper" }],
    ["a number", { slug: "42" }],
    ["what looks like an id", { slug: "a".repeat(32) }],
    ["two dashes", { slug: "a--b" }],
    ["an environment that is none", { slug: "x", environment: "prod" }],
    ["an unknown field", { slug: "x", number: 9 }],
  ])("refuse %s with 400", async (_what, body) => {
    statusOf(await admin("POST", "/api/v1/projects", body), 400);
  });

  test("change by PATCH", async () => {
    const made = await make("before");
    const changed = await admin<ProjectAnswer>("PATCH", "/api/v1/projects/before", {
      slug: "after",
      name: "After",
      environment: "production",
    });
    expect(changed.body).toMatchObject({
      id: made.id,
      slug: "after",
      name: "After",
      environment: "production",
    });
    statusOf(await admin("GET", "/api/v1/projects/before"), 404);
    statusOf(await admin("PATCH", `/api/v1/projects/${made.id}`, { number: 9 }), 400);
  });

  test("with jobs or connections in them are not deleted, and the answer names these", async () => {
    const made = await make("in-use");
    const source = { name: "numbers", type: "file", version: "1.0.0", config: { path: "in.csv" } };
    statusOf(await admin("POST", "/api/v1/project/in-use/sources", source), 200);
    const refused = await admin("DELETE", "/api/v1/projects/in-use");
    statusOf(refused, 409);
    expect(refused.body.detail).toContain("1 connection (numbers)");
    await gatehouse.database.query("UPDATE connections SET deleted_at = now() WHERE project_id = $1", [
      made.id,
    ]);
    statusOf(await admin("DELETE", "/api/v1/projects/in-use"), 204);
  });

  test("that are deleted are gone for everybody, their slug is free, and nobody is limited to them", async () => {
    const made = await make("passing");
    const client = await gatehouse.createClient({ projects: [made.id] });
    const limited = await callerOf(gatehouse, client);
    statusOf(await admin("DELETE", "/api/v1/projects/passing"), 204);
    statusOf(await admin("DELETE", `/api/v1/projects/${made.id}`), 404);
    for (const caller of [admin, limited]) {
      statusOf(await caller("GET", `/api/v1/projects/${made.id}`), 404);
      statusOf(await caller("GET", "/api/v1/project/passing/jobs"), 404);
    }
    const shown = await admin<{ projects: string[] }>("GET", `/api/v1/clients/${client.id}`);
    expect(shown.body.projects).toEqual([]);
    expect((await make("passing")).id).not.toBe(made.id);
  });

  test("show themselves to a limited caller where it reaches them, and to another organization never", async () => {
    const mine = await make("mine");
    const limited = await callerWith(gatehouse, { projects: [mine.id] });
    const list = await limited<{ items: ProjectAnswer[] }>("GET", "/api/v1/projects");
    expect(list.body.items.map(({ slug }) => slug)).toEqual(["mine"]);
    statusOf(await limited("PATCH", "/api/v1/projects/mine", { name: "still mine" }), 200);
    const other = await gatehouse.createOrganization();
    const stranger = await callerOf(gatehouse, other.client);
    for (const caller of [limited, stranger]) {
      for (const method of ["GET", "PATCH", "DELETE"] as const) {
        const body = method === "PATCH" ? { name: "x" } : undefined;
        statusOf(await caller(method, `/api/v1/projects/${gatehouse.project.id}`, body), 404);
      }
    }
  });

  test("come in pages", async () => {
    const first = await admin<{ items: ProjectAnswer[]; nextCursor: string }>(
      "GET",
      "/api/v1/projects?limit=1",
    );
    const second = await admin<{ items: ProjectAnswer[] }>(
      "GET",
      `/api/v1/projects?limit=1&cursor=${first.body.nextCursor}`,
    );
    expect(second.body.items[0]?.id).not.toBe(first.body.items[0]?.id);
  });

  test("are written down", async () => {
    const made = await make("noted");
    await admin("PATCH", "/api/v1/projects/noted", { name: "Noted" });
    await admin("DELETE", "/api/v1/projects/noted");
    expect((await auditOf(gatehouse, made.id)).map(({ action }) => action)).toEqual([
      "project.create",
      "project.update",
      "project.delete",
    ]);
  });
});

describe("resource servers", () => {
  const make = async (body: object): Promise<ServerAnswer> => {
    const made = await admin<ServerAnswer>("POST", "/api/v1/resource-servers", body);
    statusOf(made, 201);
    return made.body;
  };

  test("open everything of the tenant for an hour where nothing else is said", async () => {
    expect(await make({ identifier: "https://api.example.com/api/" })).toMatchObject({
      audience: "https://api.example.com/api/",
      tokenLifetime: 3_600,
      scopes: ["service"],
      dialects: ["core", "project", "topics", "runs", "deployments"],
    });
  });

  test("with a name have a URI as audience", async () => {
    expect((await make({ identifier: "warehouse" })).audience).toBe("urn:gatehouse:warehouse");
  });

  test.each([
    ["service"],
    ["default"],
    ["Service"],
    ["urn:gatehouse:service"],
    ["urn:gatehouse:other"],
    ["https://gatehouse.example/api/"],
    ["https://gatehouse.example/api"],
    ["two words"],
    ["https://api.example.com/#part"],
    ["/api/"],
    [""],
  ])('refuse the identifier "%s": it is built in, or none', async (identifier) => {
    statusOf(await admin("POST", "/api/v1/resource-servers", { identifier }), 400);
  });

  test.each([
    [{ identifier: "x", tokenLifetime: 59 }],
    [{ identifier: "x", tokenLifetime: 2_592_001 }],
    [{ identifier: "x", dialects: [] }],
    [{ identifier: "x", dialects: ["soap"] }],
    [{ identifier: "x", scopes: ["job:admin"] }],
    [{ identifier: "x", audience: "y" }],
    [{ name: "x" }],
  ])("refuse %j with 400", async (body) => {
    statusOf(await admin("POST", "/api/v1/resource-servers", body), 400);
  });

  test("have an identifier of their own in the organization, and only there", async () => {
    await make({ identifier: "ours" });
    statusOf(await admin("POST", "/api/v1/resource-servers", { identifier: "ours" }), 409);
    const other = await gatehouse.createOrganization();
    const stranger = await callerOf(gatehouse, other.client);
    statusOf(await stranger("POST", "/api/v1/resource-servers", { identifier: "ours" }), 201);
  });

  test("are read, changed and deleted by their organization alone", async () => {
    const made = await make({ identifier: "changing" });
    const url = `/api/v1/resource-servers/${made.id}`;
    const other = await gatehouse.createOrganization();
    const stranger = await callerOf(gatehouse, other.client);
    for (const method of ["GET", "PATCH", "DELETE"] as const) {
      statusOf(await stranger(method, url, method === "PATCH" ? {} : undefined), 404);
    }
    const changed = await admin<ServerAnswer>("PATCH", url, { dialects: ["core"], scopes: ["job:read"] });
    expect(changed.body).toMatchObject({ identifier: "changing", dialects: ["core"], scopes: ["job:read"] });
    statusOf(await admin("PATCH", url, { identifier: "other" }), 400);
    expect((await admin("GET", url)).body).toEqual(changed.body);
    const list = await admin<{ items: ServerAnswer[] }>("GET", "/api/v1/resource-servers");
    expect(list.body.items.map(({ id }) => id)).toContain(made.id);
    statusOf(await admin("DELETE", url), 204);
    statusOf(await admin("GET", url), 404);
    statusOf(await admin("DELETE", url), 404);
    expect((await auditOf(gatehouse, made.id)).map(({ action }) => action)).toEqual([
      "resourceServer.create",
      "resourceServer.update",
      "resourceServer.delete",
    ]);
  });
});

describe("organizations", () => {
  const make = async (body: object): Promise<OrganizationAnswer> => {
    const made = await admin<OrganizationAnswer>("POST", "/api/v1/organizations", body);
    statusOf(made, 201);
    return made.body;
  };

  test("begin with a project and a client that runs the tenant, and not the platform", async () => {
    const made = await make({ name: "Example Ltd", project: { slug: "main", environment: "production" } });
    expect(made.project).toMatchObject({ slug: "main", environment: "production" });
    const answer = await askToken(gatehouse, made.client);
    statusOf(answer, 200);
    expect(answer.body).toMatchObject({ scope: "service production:destructive" });
    const theirs = await callerOf(gatehouse, made.client);
    const list = await theirs<{ items: ProjectAnswer[] }>("GET", "/api/v1/projects");
    expect(list.body.items.map(({ slug }) => slug)).toEqual(["main"]);
    statusOf(await theirs("GET", "/api/v1/organizations"), 403);
    statusOf(await theirs("POST", "/api/v1/clients", { name: "x", scopes: ["platform:admin"] }), 403);
  });

  test("are read and renamed by who runs the platform", async () => {
    const { id } = await make({ name: "before" });
    const renamed = await admin<OrganizationAnswer>("PATCH", `/api/v1/organizations/${id}`, {
      name: "after",
    });
    expect(renamed.body).toMatchObject({ id, name: "after", disabled: false });
    expect((await admin("GET", `/api/v1/organizations/${id}`)).body).toEqual(renamed.body);
    const list = await admin<{ items: OrganizationAnswer[] }>("GET", "/api/v1/organizations?limit=200");
    expect(list.body.items.map((one) => one.id)).toEqual(
      expect.arrayContaining([id, gatehouse.organizationId]),
    );
  });

  test("are given as much at once as who runs the platform says, or what the installation says", async () => {
    const { id } = await make({ name: "wide" });
    const url = `/api/v1/organizations/${id}`;
    expect((await admin("GET", url)).body).toMatchObject({ concurrency: null });
    const changed = await admin("PATCH", url, { concurrency: 200 });
    expect(changed.body).toMatchObject({ name: "wide", concurrency: 200 });
    expect((await admin("PATCH", url, { name: "wider" })).body).toMatchObject({ concurrency: 200 });
    expect((await admin("PATCH", url, { concurrency: null })).body).toMatchObject({
      name: "wider",
      concurrency: null,
    });
    for (const concurrency of [0, 1_001, 1.5, "many"]) {
      statusOf(await admin("PATCH", url, { concurrency }), 400);
    }
  });

  test("refuse what is no field, and no name", async () => {
    for (const body of [{}, { name: "" }, { name: "x", id: "y" }, { name: "x", project: {} }]) {
      statusOf(await admin("POST", "/api/v1/organizations", body), 400);
    }
    statusOf(await admin("PATCH", `/api/v1/organizations/${gatehouse.organizationId}`, {}), 400);
    statusOf(await admin("GET", "/api/v1/organizations/nowhere"), 404);
    statusOf(await admin("POST", `/api/v1/organizations/${crypto.randomUUID()}/disable`), 404);
  });

  test("that are disabled let no token in, and enabling brings no old token back", async () => {
    const made = await make({ name: "closing" });
    const token = (await askToken(gatehouse, made.client)).body.access_token ?? "";
    statusOf(await gatehouse.call("GET", "/api/v1/clients", { token }), 200);
    const url = `/api/v1/organizations/${made.id}`;
    for (const _twice of [1, 2]) {
      const disabled = await admin<OrganizationAnswer>("POST", `${url}/disable`);
      expect(disabled.body.disabled).toBe(true);
    }
    await untilRefused(gatehouse, token);
    expect(await generationOf(gatehouse, "api_clients", made.client.id)).toBe(2);
    const enabled = await admin<OrganizationAnswer>("POST", `${url}/enable`);
    expect(enabled.body.disabled).toBe(false);
    statusOf(await gatehouse.call("GET", "/api/v1/clients", { token }), 401);
    expect((await auditOf(gatehouse, made.id)).map(({ action }) => action)).toEqual([
      "organization.create",
      "organization.disable",
      "organization.enable",
    ]);
  });

  test("of the caller itself cannot be disabled", async () => {
    statusOf(await admin("POST", `/api/v1/organizations/${gatehouse.organizationId}/disable`), 409);
  });
});
