import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Scope } from "../../../src/auth/scopes.js";
import { ALL_SCOPES } from "../../../src/auth/scopes.js";
import { type Installation, openInstallation } from "../../support/installation.js";
import { type Caller, callerOf, callerWith, type Method, statusOf } from "./support.js";

let gatehouse: Installation;
let nobody: Caller;
const callers = new Map<Scope, Caller>();

const ID = "0199b3c0-0a1b-7c2d-8e3f-405162738400";

/** Every route of access: what it needs, and a body that it would take. */
const ROUTES: [Method, string, Scope, object?][] = [
  ["POST", "/api/v1/clients", "client:write", { name: "x", scopes: [] }],
  ["GET", "/api/v1/clients", "client:read"],
  ["GET", `/api/v1/clients/${ID}`, "client:read"],
  ["PATCH", `/api/v1/clients/${ID}`, "client:write", { name: "x" }],
  ["DELETE", `/api/v1/clients/${ID}`, "client:write"],
  ["POST", `/api/v1/clients/${ID}/disable`, "client:write"],
  ["POST", `/api/v1/clients/${ID}/enable`, "client:write"],
  ["POST", `/api/v1/clients/${ID}/secrets`, "client:write"],
  ["DELETE", `/api/v1/clients/${ID}/secrets/${ID}`, "client:write"],
  ["POST", "/api/v1/resource-servers", "resourceServer:write", { identifier: "x" }],
  ["GET", "/api/v1/resource-servers", "resourceServer:read"],
  ["GET", `/api/v1/resource-servers/${ID}`, "resourceServer:read"],
  ["PATCH", `/api/v1/resource-servers/${ID}`, "resourceServer:write", {}],
  ["DELETE", `/api/v1/resource-servers/${ID}`, "resourceServer:write"],
  ["POST", "/api/v1/webhooks", "webhook:write", { url: "https://hooks.example.com/" }],
  ["GET", "/api/v1/webhooks", "webhook:read"],
  ["GET", `/api/v1/webhooks/${ID}`, "webhook:read"],
  ["PATCH", `/api/v1/webhooks/${ID}`, "webhook:write", {}],
  ["DELETE", `/api/v1/webhooks/${ID}`, "webhook:write"],
  ["POST", `/api/v1/webhooks/${ID}/disable`, "webhook:write"],
  ["POST", `/api/v1/webhooks/${ID}/enable`, "webhook:write"],
  ["POST", `/api/v1/webhooks/${ID}/secrets`, "webhook:write"],
  ["POST", `/api/v1/webhooks/${ID}/test`, "webhook:write"],
  ["GET", `/api/v1/webhooks/${ID}/deliveries`, "webhook:read"],
  ["GET", `/api/v1/webhooks/${ID}/deliveries/${ID}`, "webhook:read"],
  ["POST", `/api/v1/webhooks/${ID}/deliveries/${ID}/replay`, "webhook:write"],
  ["POST", "/api/v1/projects", "project:write", { slug: "x" }],
  ["GET", "/api/v1/projects", "project:read"],
  ["GET", `/api/v1/projects/${ID}`, "project:read"],
  ["PATCH", `/api/v1/projects/${ID}`, "project:write", { name: "x" }],
  ["DELETE", `/api/v1/projects/${ID}`, "project:write"],
  ["POST", "/api/v1/organizations", "platform:admin", { name: "x" }],
  ["GET", "/api/v1/organizations", "platform:admin"],
  ["GET", `/api/v1/organizations/${ID}`, "platform:admin"],
  ["PATCH", `/api/v1/organizations/${ID}`, "platform:admin", { name: "x" }],
  ["POST", `/api/v1/organizations/${ID}/disable`, "platform:admin"],
  ["POST", `/api/v1/organizations/${ID}/enable`, "platform:admin"],
  ["GET", "/metrics", "platform:metrics"],
  ["POST", "/api/v1/users", "user:write", {}],
  ["GET", "/api/v1/users", "user:read"],
  ["GET", `/api/v1/users/${ID}`, "user:read"],
  ["PATCH", `/api/v1/users/${ID}`, "user:write", {}],
  ["DELETE", `/api/v1/users/${ID}`, "user:write"],
  ["POST", `/api/v1/users/${ID}/password`, "user:write", { password: "x" }],
  ["GET", "/api/v1/apiKeys", "apiKey:read"],
  ["POST", "/api/v1/apiKey", "apiKey:write", { name: "x" }],
  ["GET", "/api/v1/apiKey/nothing", "apiKey:read"],
  ["PUT", "/api/v1/apiKey/nothing", "apiKey:write", {}],
  ["DELETE", "/api/v1/apiKey/nothing", "apiKey:write"],
  ["GET", "/api/v1/permissions", "apiKey:read"],
  ["GET", "/organizations/api-clients", "client:read"],
  ["POST", "/organizations/api-clients", "client:write", { name: "x", environmentIds: [] }],
  ["GET", `/organizations/api-clients/${ID}`, "client:read"],
  ["PUT", `/organizations/api-clients/${ID}`, "client:write", {}],
  ["DELETE", `/organizations/api-clients/${ID}`, "client:write"],
  ["POST", `/organizations/api-clients/${ID}/refresh-secret`, "client:write"],
];

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  nobody = await callerOf(gatehouse, null);
  for (const scope of new Set(ROUTES.map(([, , needed]) => needed))) {
    const others = ALL_SCOPES.filter((one) => one !== scope);
    callers.set(scope, await callerWith(gatehouse, { scopes: others }));
  }
});
afterAll(() => gatehouse.close());

describe.each(ROUTES)("%s %s", (method, url, scope, body) => {
  test("answers 401 to nobody", async () => {
    statusOf(await nobody(method, url, body), 401);
  });

  test(`answers 403 to who has every scope but ${scope}`, async () => {
    const answer = await callers.get(scope)?.(method, url, body);
    expect(answer?.status, answer?.text).toBe(403);
    expect(answer?.headers["www-authenticate"]).toContain(`scope="${scope}"`);
  });

  test.runIf(url.includes(ID) || url.endsWith("nothing"))("answers 404 for what does not exist", async () => {
    const admin = await callerOf(gatehouse);
    statusOf(await admin(method, url, body), 404);
    statusOf(await admin(method, url.replaceAll(ID, "no-id"), body), 404);
  });
});
