import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROLE_SCOPES } from "../../../src/auth/roles.js";
import { type Answer, type Installation, openInstallation } from "../../support/installation.js";
import {
  askToken,
  type Caller,
  callerOf,
  callerWith,
  formCaller,
  statusOf,
  untilRefused,
  untilToken,
} from "./support.js";

interface ApiClient {
  readonly id: string;
  readonly name: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly environmentIds: readonly string[];
  readonly createdAt: string;
}

interface Failure {
  readonly error: string;
  readonly code: string;
  readonly requestId: string;
}

let gatehouse: Installation;
let admin: Caller;
const ROOT = "/organizations/api-clients";

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  admin = await callerOf(gatehouse);
});
afterAll(() => gatehouse.close());

async function make(): Promise<ApiClient> {
  const made = await admin<ApiClient>("POST", ROOT, { name: "backup", environmentIds: ["default"] });
  statusOf(made, 201);
  return made.body;
}

test("a client gets a token as the text does it, and is an operator of its environments", async () => {
  const made = await admin<ApiClient>("POST", ROOT, {
    name: "backup",
    environmentIds: [gatehouse.project.id],
  });
  statusOf(made, 201);
  expect(made.headers["location"]).toBe(`${ROOT}/${made.body.id}`);
  expect(made.headers["cache-control"]).toBe("no-store");
  expect(made.body.environmentIds).toEqual([gatehouse.project.id]);
  expect(made.body.createdAt).toMatch(/^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/);
  const form = {
    client_secret: made.body.clientSecret,
    client_id: made.body.clientId,
    grant_type: "client_credentials",
  };
  const token = await gatehouse.call<{ scope: string; expires_in: number }>(
    "POST",
    "/organizations/oauth/token",
    {
      token: null,
      raw: new URLSearchParams(form).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    },
  );
  statusOf(token, 200);
  expect(token.body.expires_in).toBe(3_600);
  expect(new Set(token.body.scope.split(" "))).toEqual(ROLE_SCOPES.operator);
  const shown = await admin<{ scopes: string[] }>("GET", `/api/v1/clients/${made.body.id}`);
  expect(new Set(shown.body.scopes)).toEqual(ROLE_SCOPES.operator);
});

test("bodies are forms too: one environment, several, or JSON text", async () => {
  const form = await formCaller(gatehouse);
  const other = await gatehouse.createProject();
  const one = await form<ApiClient>("POST", ROOT, { name: "x", environmentIds: "default" });
  statusOf(one, 201);
  expect(one.body.environmentIds).toEqual([gatehouse.project.id]);
  const json = JSON.stringify(["default", other.slug]);
  const both = await form<ApiClient>("POST", ROOT, { name: "x", environments: json });
  expect(new Set(both.body.environmentIds)).toEqual(new Set([gatehouse.project.id, other.id]));
  const token = await gatehouse.token();
  const repeated = await gatehouse.call<ApiClient>("POST", ROOT, {
    token,
    raw: `name=x&environmentIds=default&environmentIds=${other.slug}`,
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  expect(repeated.body.environmentIds).toHaveLength(2);
});

test("lists are plain arrays, with a link to more", async () => {
  await make();
  await make();
  const seen: string[] = [];
  let url: string | undefined = `${ROOT}?limit=2`;
  while (url !== undefined) {
    const page: Answer<ApiClient[]> = await admin("GET", url);
    statusOf(page, 200);
    seen.push(...page.body.map(({ id }) => id));
    expect(page.text).not.toContain("clientSecret");
    url = /^<([^>]+)>; rel="next"$/.exec(String(page.headers["link"] ?? ""))?.[1];
  }
  expect(new Set(seen).size).toBe(seen.length);
  const all = await admin<{ items: { id: string }[] }>("GET", "/api/v1/clients?limit=200");
  expect(seen).toEqual(all.body.items.map(({ id }) => id));
});

test("PUT changes the name and the environments, and nothing else", async () => {
  const made = await make();
  const other = await gatehouse.createProject();
  const changed = await admin<ApiClient>("PUT", `${ROOT}/${made.id}`, {
    name: "nightly",
    environmentIds: [other.id],
  });
  statusOf(changed, 200);
  expect(changed.body).toMatchObject({
    name: "nightly",
    environmentIds: [other.id],
    clientId: made.clientId,
  });
  const renamed = await admin<ApiClient>("PUT", `${ROOT}/${made.id}`, { name: "weekly" });
  expect(renamed.body).toMatchObject({ name: "weekly", environmentIds: [other.id] });
  expect((await admin("GET", `${ROOT}/${made.id}`)).body).toEqual(renamed.body);
});

test("a refreshed secret replaces the old one and the tokens at once", async () => {
  const made = await make();
  const token = (await askToken(gatehouse, made)).body.access_token ?? "";
  const refreshed = await admin<ApiClient>("POST", `${ROOT}/${made.id}/refresh-secret`);
  statusOf(refreshed, 201);
  expect(refreshed.headers["cache-control"]).toBe("no-store");
  await untilToken(gatehouse, made, 401);
  await untilToken(gatehouse, refreshed.body, 200);
  await untilRefused(gatehouse, token);
});

test("DELETE answers 204, and the client is gone", async () => {
  const made = await make();
  const gone = await admin("DELETE", `${ROOT}/${made.id}`);
  statusOf(gone, 204);
  expect(gone.text).toBe("");
  statusOf(await admin("GET", `${ROOT}/${made.id}`), 404);
  await untilToken(gatehouse, made, 401);
});

describe("failures are {error, code, requestId}", () => {
  test.each([
    ["no name", { environmentIds: ["default"] }],
    ["no environments", { name: "x" }],
    ["an environment that is none", { name: "x", environmentIds: ["nowhere"] }],
    ["a name that is none", { name: 7, environmentIds: [] }],
  ])("400: %s", async (_what, body) => {
    const answer = await admin<Failure>("POST", ROOT, body);
    statusOf(answer, 400);
    expect(answer.body).toMatchObject({ code: "invalid_request", error: expect.any(String) });
    expect(answer.body.requestId).toBeTruthy();
  });

  test("401, 403, 404", async () => {
    const made = await make();
    const nobody = await callerOf(gatehouse, null);
    const reader = await callerWith(gatehouse, { scopes: ["job:read"] });
    const other = await gatehouse.createOrganization();
    const stranger = await callerOf(gatehouse, other.client);
    const ways = [
      ["GET", ""],
      ["GET", `/${made.id}`],
      ["PUT", `/${made.id}`],
      ["DELETE", `/${made.id}`],
      ["POST", `/${made.id}/refresh-secret`],
    ] as const;
    for (const [method, rest] of ways) {
      const body = method === "PUT" ? { name: "x" } : undefined;
      const refused = await nobody<Failure>(method, `${ROOT}${rest}`, body);
      statusOf(refused, 401);
      expect(refused.body.code).toBe("unauthenticated");
      const forbidden = await reader<Failure>(method, `${ROOT}${rest}`, body);
      statusOf(forbidden, 403);
      expect(forbidden.body.code).toBe("insufficient_scope");
      if (rest === "") continue;
      const absent = await stranger<Failure>(method, `${ROOT}${rest}`, body);
      statusOf(absent, 404);
      expect(absent.body.code).toBe("not_found");
    }
    const nowhere = await admin<Failure>("GET", "/databases/nowhere/at/all");
    expect(nowhere.body.code).toBe("not_found");
    expect(nowhere.body.error).toBeTruthy();
  });

  test("the token path keeps the errors of RFC 6749", async () => {
    const answer = await gatehouse.call<{ error: string }>("POST", "/organizations/oauth/token", {
      token: null,
      body: { grant_type: "nothing" },
    });
    expect(answer.body.error).toMatch(/^[a-z_]+$/);
  });
});
