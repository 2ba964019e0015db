import Fastify, { type FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadConfig } from "../../../src/config.js";
import { csrfTokenOf, originPolicy, requireOwnPage } from "../../../src/http/csrf.js";
import { clearSessionCookie, sessionPlugin, setSessionCookie } from "../../../src/http/session-auth.js";
import { AppError } from "../../../src/platform/errors.js";
import { type Installation, openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import { Web } from "./support.js";

/** The installation of the tests says it is https://gatehouse.example, and lets http://localhost:8000 in. */
const TABLE: readonly { headers: Record<string, string>; allowed: boolean }[] = [
  // No browser: it has no cookies but those that its sender knows.
  { headers: {}, allowed: true },
  { headers: { origin: "https://gatehouse.example" }, allowed: true },
  { headers: { origin: "https://gatehouse.example", "sec-fetch-site": "same-origin" }, allowed: true },
  { headers: { origin: "http://localhost:8000", "sec-fetch-site": "cross-site" }, allowed: true },
  { headers: { "sec-fetch-site": "same-origin" }, allowed: true },
  { headers: { "sec-fetch-site": "none" }, allowed: true },
  { headers: { origin: "http://127.0.0.1:8080", host: "127.0.0.1:8080" }, allowed: true },
  { headers: { origin: "http://[::1]:8080", host: "[::1]:8080" }, allowed: true },
  { headers: { origin: "http://localhost:8080", host: "localhost:8080" }, allowed: true },
  { headers: { origin: "https://evil.example" }, allowed: false },
  { headers: { origin: "https://evil.example", "sec-fetch-site": "same-origin" }, allowed: false },
  { headers: { origin: "null" }, allowed: false },
  { headers: { origin: "" }, allowed: false },
  { headers: { origin: "http://gatehouse.example" }, allowed: false },
  { headers: { origin: "https://gatehouse.example.evil.example" }, allowed: false },
  { headers: { origin: "https://gatehouse.example:8443" }, allowed: false },
  { headers: { origin: "http://localhost:8001" }, allowed: false },
  { headers: { origin: "http://127.0.0.1:3000", host: "127.0.0.1:8080" }, allowed: false },
  // Whoever owns a name can make it point here.
  { headers: { origin: "http://evil.example:8080", host: "evil.example:8080" }, allowed: false },
  { headers: { "sec-fetch-site": "same-site" }, allowed: false },
  { headers: { "sec-fetch-site": "cross-site" }, allowed: false },
  { headers: { "sec-fetch-site": "anything else" }, allowed: false },
];

describe("with a session", () => {
  let it: Installation;
  let web: Web;
  let cookie: string;
  beforeAll(async () => {
    it = await openInstallation({ worker: false });
    web = new Web(it);
    await web.addUser("ada", "owner");
    cookie = await web.login("ada");
  });
  afterAll(() => it.close());

  test.each(TABLE)("$headers may change something: $allowed", async ({ headers, allowed }) => {
    const answer = await web.as(cookie, "POST", "/auth/password", { body: {}, headers });
    // The body is looked at only where the caller may make the request.
    expect(answer.status).toBe(allowed ? 400 : 403);
    expect(answer.body.message).toBe(allowed ? "Bad request" : "Insufficient permissions");
  });

  test.each(TABLE.filter(({ allowed }) => !allowed))("$headers may read", async ({ headers }) => {
    expect((await web.as(cookie, "GET", "/auth", { headers })).status).toBe(200);
  });

  test("every dialect refuses another site's page, in its own shape", async () => {
    const headers = { origin: "https://evil.example" };
    const project = await web.as(cookie, "POST", "/api/v1/project/default/sources", { body: {}, headers });
    expect(project.status).toBe(403);
    expect(project.body).toMatchObject({ success: false, message: "Insufficient permissions" });
    const core = await web.as(cookie, "POST", `/api/v1/jobs/${it.organizationId}/sync`, { headers });
    expect(core.status).toBe(403);
    expect(core.body).toMatchObject({ code: "forbidden" });
  });

  test("the topics dialect wants its CSRF token however its path is spelled", async () => {
    const { body } = await web.as(cookie, "GET", "/auth");
    const { csrfToken } = body.data as { csrfToken: string };
    for (const path of ["/api/v1/apiKey", "/api/v1/%61piKey", "/%61pi/v1/apiKey", "/api/v1/apiKey#"]) {
      const made = { body: { name: "a key" } };
      expect([path, (await web.as(cookie, "POST", path, made)).status]).toEqual([path, 403]);
      const headers = { "x-csrf-token": csrfToken };
      expect((await web.as(cookie, "POST", path, { ...made, headers })).status).toBe(200);
    }
  });

  test("a refused request is written down in the name of the session's user", async () => {
    const event = await until("it is written down", () =>
      it.runtime.prisma.auditEvent.findFirst({ where: { action: "request.denied", outcome: "denied" } }),
    );
    expect(event).toMatchObject({ actorKind: "user", actorName: "ada" });
  });

  test("a bearer token needs none of it: browsers do not add it by themselves", async () => {
    const headers = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    expect((await it.call("POST", "/api/v1/project/default/sources", { body: {}, headers })).status).toBe(
      400,
    );
  });

  test("another site's page cannot log its visitors in as somebody else", async () => {
    const body = { username: "ada", password: "wrong" };
    for (const { headers, allowed } of TABLE) {
      if (allowed) continue;
      const answer = await web.send("POST", "/login", { body, headers });
      expect([headers, answer.status]).toEqual([headers, 403]);
    }
  });
});

describe("the check alone", () => {
  const SECRET = "S".repeat(43);
  let app: FastifyInstance;
  beforeAll(async () => {
    app = Fastify();
    const policy = originPolicy("https://gatehouse.example/gate", ["http://localhost:8000", "not a url"]);
    app.setErrorHandler((error, _request, reply) =>
      reply.code(error instanceof AppError && error.code === "forbidden" ? 403 : 500).send(),
    );
    for (const dialect of ["project", "topics"] as const) {
      app.addHook("onRequest", async (request) => {
        if (request.url.startsWith(`/${dialect}`)) requireOwnPage(policy, request, SECRET, dialect);
      });
      app.post(`/${dialect}`, { config: { scopes: ["app:read"] } }, async () => "done");
      app.get(`/${dialect}`, { config: { scopes: ["app:read"] } }, async () => "done");
      app.get(`/${dialect}/cancel`, { config: { scopes: ["job:write"] } }, async () => "done");
    }
    await app.ready();
  });
  afterAll(() => app.close());

  const status = async (method: "GET" | "POST" | "HEAD", url: string, headers: Record<string, string> = {}) =>
    (await app.inject({ method, url, headers })).statusCode;
  const crossSite = { "sec-fetch-site": "cross-site" };

  test("covers a GET that changes something, by the scope that its route needs", async () => {
    expect(await status("GET", "/project/cancel", crossSite)).toBe(403);
    expect(await status("GET", "/project/cancel", { "sec-fetch-site": "same-origin" })).toBe(200);
    expect(await status("GET", "/project", crossSite)).toBe(200);
    expect(await status("HEAD", "/project", crossSite)).toBe(200);
  });

  test("wants the CSRF token besides in the topics dialect, where something changes", async () => {
    const good = { "x-csrf-token": csrfTokenOf(SECRET) };
    const wrongs = ["", "x", csrfTokenOf("T".repeat(43)), `${csrfTokenOf(SECRET).slice(0, -1)}!`];
    expect(await status("POST", "/topics", good)).toBe(200);
    expect(await status("GET", "/topics/cancel", good)).toBe(200);
    expect(await status("GET", "/topics")).toBe(200);
    expect(await status("POST", "/topics")).toBe(403);
    expect(await status("GET", "/topics/cancel")).toBe(403);
    for (const wrong of wrongs) expect(await status("POST", "/topics", { "x-csrf-token": wrong })).toBe(403);
    // It does not stand for the origin.
    expect(await status("POST", "/topics", { ...good, ...crossSite })).toBe(403);
    expect(await status("POST", "/project")).toBe(200);
  });

  test("the CSRF token says nothing of the session's secret", () => {
    expect(csrfTokenOf(SECRET)).toMatch(/^[\w-]{43}$/);
    expect(csrfTokenOf(SECRET)).not.toBe(csrfTokenOf("T".repeat(43)));
  });
});

describe("the cookie", () => {
  test.each([
    [{ sameSite: "lax", secure: true }, ["HttpOnly", "SameSite=Lax", "Secure"]],
    [{ sameSite: "strict", secure: false }, ["HttpOnly", "SameSite=Strict"]],
    [{ sameSite: "none", secure: true }, ["HttpOnly", "SameSite=None", "Secure"]],
  ] as const)("of %j has the flags %j", async (settings, flags) => {
    const app = Fastify();
    await app.register(sessionPlugin);
    app.get("/set", (_request, reply) => {
      setSessionCookie(reply, settings, { id: "-", secret: "s", lifetimeMs: 60_000 });
      return reply.send();
    });
    app.get("/clear", (_request, reply) => {
      clearSessionCookie(reply, settings);
      return reply.send();
    });
    const flagsOf = async (url: string): Promise<string[]> =>
      String((await app.inject(url)).headers["set-cookie"]).split("; ");
    expect((await flagsOf("/set")).sort()).toEqual(
      ["Max-Age=60", "Path=/", "gatehouse_session=s", ...flags].sort(),
    );
    expect(await flagsOf("/clear")).toEqual(
      expect.arrayContaining(["gatehouse_session=", "Max-Age=0", ...flags]),
    );
    await app.close();
  });

  const load = (env: Record<string, string>) => loadConfig(env, "/tmp");

  test("is configured by the environment, and never so that browsers drop it", () => {
    expect(load({})).toMatchObject({
      ...{ allowSignUp: false, sessionSameSite: "lax" },
      ...{ sessionLifetimeMs: 14 * 24 * 3_600_000, sessionIdleMs: 24 * 3_600_000 },
    });
    const publicUrl = { PUBLIC_URL: "https://gatehouse.example" };
    expect(load({ SESSION_SAMESITE: "none", ...publicUrl }).sessionSameSite).toBe("none");
    expect(() => load({ SESSION_SAMESITE: "none" })).toThrow(
      /SESSION_SAMESITE none needs a PUBLIC_URL with https/,
    );
    const wrong = { ALLOW_SIGNUP: "perhaps", SESSION_SAMESITE: "no", SESSION_IDLE_HOURS: "0" };
    expect(() => load(wrong)).toThrow(/ALLOW_SIGNUP.*SESSION_SAMESITE.*SESSION_IDLE_HOURS/s);
  });
});
