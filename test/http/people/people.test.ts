import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import { COOKIE, cookieOf, PASSWORD, Web } from "./support.js";

let it: Installation;
let web: Web;
beforeAll(async () => {
  it = await openInstallation({ worker: false, env: { ALLOW_SIGNUP: "true" } });
  web = new Web(it);
  await web.addUser("ada", "owner");
  await web.addUser("vic", "viewer");
});
afterAll(() => it.close());

const ORIGIN = { origin: "http://localhost:8000" };
const refusal = (message: string) => ({ success: false, message, data: null });

describe("POST /signup", () => {
  const body = { email: "Sam@Example.com", username: "Sam", password: PASSWORD };

  test("makes a user, and logs nobody in", async () => {
    const answer = await web.send("POST", "/signup", { body, headers: ORIGIN });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      success: true,
      message: "success",
      data: { email: "sam@example.com", username: "sam" },
    });
    expect(answer.headers["set-cookie"]).toBeUndefined();
    await web.login("sam");
  });

  test("answers 409 for a name that is taken", async () => {
    const answer = await web.send("POST", "/signup", { body: { ...body, username: "ADA" } });
    expect(answer.status).toBe(409);
    expect(answer.body).toMatchObject(refusal(expect.stringContaining("taken") as unknown as string));
  });

  test.each([
    [{}, ["/email", "/username", "/password"]],
    [{ ...body, password: "short" }, ["/password"]],
    [{ ...body, password: "sam@example.com" }, ["/password"]],
    [{ ...body, username: "not a name", email: "nothing" }, ["/username", "/email"]],
    [{ ...body, username: "nul\u0000" }, ["/username"]],
    [{ ...body, username: 7 }, ["/username"]],
    [{ ...body, bootstrap_token: "" }, ["/bootstrap_token"]],
  ])("answers 400 for %j, naming each fault", async (wrong, paths) => {
    const answer = await web.send("POST", "/signup", { body: wrong });
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject(refusal("Bad request"));
    expect(answer.body.error?.errors?.map(({ path }) => path).sort()).toEqual([...paths].sort());
  });

  test("answers 403 for a wrong bootstrap token, and 429 for too many tries", async () => {
    const payload = { ...body, username: "eve", bootstrap_token: "x".repeat(43) };
    web.secrets.add(payload.bootstrap_token);
    const send = () =>
      it.app.inject({ method: "POST", url: "/signup", payload, remoteAddress: "198.51.100.3" });
    const first = await send();
    expect(first.statusCode).toBe(403);
    expect(first.json()).toMatchObject(refusal("Insufficient permissions"));
    let last = first;
    for (let i = 0; i < 60; i += 1) last = await send();
    expect(last.statusCode).toBe(429);
    expect(Number(last.headers["retry-after"])).toBeGreaterThan(0);
    expect(last.json().message).toContain("try again in");
  });
});

describe("POST /login", () => {
  test("sets a cookie that scripts cannot read, that other sites do not send, and that http does not carry", async () => {
    const answer = await web.send("POST", "/login", { body: { username: "Ada", password: PASSWORD } });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ success: true, message: "success", data: { username: "ada" } });
    const [cookie = "", ...others] = answer.headers["set-cookie"] ?? [];
    expect(others).toEqual([]);
    expect(cookie).toMatch(COOKIE);
    expect(cookie.split("; ").slice(1).sort()).toEqual([
      "HttpOnly",
      "Max-Age=1209600",
      "Path=/",
      "SameSite=Lax",
      "Secure",
    ]);
    expect(answer.headers["cache-control"]).toBe("no-store");
  });

  test("takes a form too", async () => {
    const answer = await web.send("POST", "/login", {
      raw: new URLSearchParams({ username: "ada", password: PASSWORD }).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    expect(answer.status).toBe(200);
  });

  test("answers the same 401 for an unknown user and for a wrong password", async () => {
    const answers = await Promise.all(
      ["ada", "nobody", "nobody@example.com"].map((username) =>
        web.send("POST", "/login", { body: { username, password: "not the password" } }),
      ),
    );
    web.secrets.add("not the password");
    const told = answers.map(({ status, headers, body }) => {
      const { date: _date, ...rest } = headers;
      return { status, rest, body: { ...body, error: { ...body.error, requestId: "" } } };
    });
    expect(told[0]).toMatchObject({ status: 401, body: refusal("Authentication required") });
    expect(told[0]?.rest["www-authenticate"]).toBe('Bearer realm="gatehouse"');
    expect(told[0]?.rest["set-cookie"]).toBeUndefined();
    expect(told[1]).toEqual(told[0]);
    expect(told[2]).toEqual(told[0]);
  });

  test.each([[{}], [{ username: "ada" }], [{ username: "ada", password: "x".repeat(1_001) }], [[]], ["ada"]])(
    "answers 400 for %j",
    async (body) => {
      const answer = await web.send("POST", "/login", { body });
      expect(answer.status).toBe(400);
      expect(answer.body).toMatchObject(refusal("Bad request"));
    },
  );

  test("answers 413 for a body that no login has", async () => {
    const answer = await web.send("POST", "/login", {
      body: { username: "ada", password: "x".repeat(20_000) },
    });
    expect(answer.status).toBe(413);
    expect(answer.body.success).toBe(false);
  });

  test("keeps a password out of the log that came as broken JSON", async () => {
    web.secrets.add("hunter2hunter2");
    const answer = await web.send("POST", "/login", {
      raw: '{"username":"ada","password":"hunter2hunter2',
      headers: { "content-type": "application/json" },
    });
    expect(answer.status).toBe(400);
  });

  test("puts a new session in the place of one that was planted, or was there before (fixation)", async () => {
    const planted = `gatehouse_session=${"A".repeat(43)}`;
    const login = (cookie: string) =>
      web.as(cookie, "POST", "/login", { body: { username: "ada", password: PASSWORD } });
    const first = cookieOf(await login(planted));
    const second = cookieOf(await login(first));
    expect(new Set([planted, first, second]).size).toBe(3);
    for (const old of [planted, first]) expect((await web.as(old, "GET", "/auth")).status).toBe(401);
    expect((await web.as(second, "GET", "/auth")).status).toBe(200);
  });
});

describe("GET /auth", () => {
  test("tells a person's name, and the CSRF token of its session", async () => {
    const cookie = await web.login("ada");
    const answer = await web.as<{ csrfToken: string }>(cookie, "GET", "/auth");
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({
      success: true,
      message: "success",
      data: { username: "ada", kind: "user", csrfToken: expect.stringMatching(/^[\w-]{43}$/) },
    });
    const again = await web.as<{ csrfToken: string }>(cookie, "GET", "/auth");
    expect(again.body.data.csrfToken).toBe(answer.body.data.csrfToken);
    const other = await web.as<{ csrfToken: string }>(await web.login("ada"), "GET", "/auth");
    expect(other.body.data.csrfToken).not.toBe(answer.body.data.csrfToken);
    web.secrets.add(answer.body.data.csrfToken);
  });

  test("takes a bearer token too", async () => {
    const answer = await it.call("GET", "/auth");
    expect(answer.body).toMatchObject({
      data: { username: "administrator", kind: "client", csrfToken: null },
    });
  });

  test.each([
    "",
    "gatehouse_session=",
    "gatehouse_session=x",
    `gatehouse_session=${"B".repeat(43)}`,
    "other=1",
  ])("answers 401 for the cookie %j", async (cookie) => {
    const answer = await web.as(cookie, "GET", "/auth");
    expect(answer.status).toBe(401);
    expect(answer.headers["www-authenticate"]).toMatch(/^Bearer/);
    expect(answer.body).toMatchObject(refusal("Authentication required"));
  });

  test("does not fall back to the session where a bad token was sent", async () => {
    const cookie = await web.login("ada");
    const answer = await web.as(cookie, "GET", "/auth", { headers: { authorization: "Bearer a.b.c" } });
    expect(answer.status).toBe(401);
  });
});

describe("POST /logout", () => {
  test("ends the session at once, and takes the cookie back", async () => {
    const [cookie, other] = [await web.login("ada"), await web.login("ada")];
    const answer = await web.as(cookie, "POST", "/logout");
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ success: true, message: "success", data: null });
    expect(answer.headers["set-cookie"]?.[0]).toMatch(
      /^gatehouse_session=; Max-Age=0; Path=\/;.*HttpOnly; Secure/,
    );
    expect((await web.as(cookie, "GET", "/auth")).status).toBe(401);
    expect((await web.as(cookie, "POST", "/logout")).status).toBe(401);
    expect((await web.as(other, "GET", "/auth")).status).toBe(200);
  });

  test("with a bearer token has nothing to end", async () => {
    expect((await it.call("POST", "/logout")).status).toBe(200);
    expect((await it.call("GET", "/auth")).status).toBe(200);
    expect((await web.send("POST", "/logout")).status).toBe(401);
  });
});

describe("POST /auth/password", () => {
  test("ends the other sessions, and replaces one's own", async () => {
    await web.addUser("cy", "viewer");
    const [mine, other] = [await web.login("cy"), await web.login("cy")];
    const next = "four other words entirely";
    const answer = await web.as(mine, "POST", "/auth/password", {
      body: { current_password: PASSWORD, new_password: next },
    });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ success: true, message: "success", data: { username: "cy" } });
    expect((await web.as(cookieOf(answer), "GET", "/auth")).status).toBe(200);
    for (const old of [mine, other]) expect((await web.as(old, "GET", "/auth")).status).toBe(401);
    await web.login("cy", next);
    const former = await web.send("POST", "/login", { body: { username: "cy", password: PASSWORD } });
    expect(former.status).toBe(401);
  });

  test("answers 400 for a wrong current password, naming the field, and leaves the session", async () => {
    const cookie = await web.login("vic");
    const answer = await web.as(cookie, "POST", "/auth/password", {
      body: { current_password: "wrong", new_password: "four other words" },
    });
    expect(answer.status).toBe(400);
    expect(answer.body.error?.errors?.map(({ path }) => path)).toEqual(["/current_password"]);
    expect((await web.as(cookie, "GET", "/auth")).status).toBe(200);
  });

  test("is for people: an API client gets 403, a stranger 401", async () => {
    const body = { current_password: "wrong", new_password: "four other words" };
    expect((await it.call("POST", "/auth/password", { body })).status).toBe(403);
    expect((await web.send("POST", "/auth/password", { body })).status).toBe(401);
  });
});

describe("a session", () => {
  test("is a credential on every dialect, with the scopes of the user's role", async () => {
    const cookie = await web.login("vic");
    expect((await web.as(cookie, "GET", "/api/v1/jobs")).status).toBe(200);
    expect((await web.as(cookie, "GET", "/api/v1/project/default/sources")).status).toBe(200);
    const written = await web.as(cookie, "POST", "/api/v1/project/default/check-unique", {
      body: { name: "x", entity_type: "source" },
    });
    expect(written.status).toBe(200);
    const refused = await web.as(cookie, "POST", "/api/v1/project/default/sources", { body: {} });
    expect(refused.status).toBe(403);
    expect(refused.headers["www-authenticate"]).toContain("source:write");
  });

  test("reaches the projects of its user alone", async () => {
    const mine = await it.createProject();
    await web.addUser("pat", "viewer", [mine.id]);
    const cookie = await web.login("pat");
    expect((await web.as(cookie, "GET", `/api/v1/project/${mine.slug}/sources`)).status).toBe(200);
    expect((await web.as(cookie, "GET", "/api/v1/project/default/sources")).status).toBe(404);
  });

  test("ends when its user is disabled", async () => {
    const id = await web.addUser("dee", "viewer");
    const cookie = await web.login("dee");
    expect((await web.as(cookie, "GET", "/auth")).status).toBe(200);
    await it.runtime.prisma.user.update({ where: { id }, data: { disabledAt: new Date() } });
    await until(
      "the session is over",
      async () => (await web.as(cookie, "GET", "/auth")).status === 401,
      1_500,
    );
  });
});

test("no password, no session and no token is in the log, in the audit log, or in the database as it is", async () => {
  await it.runtime.prisma.auditEvent.findFirstOrThrow();
  const tables = ["audit_events", "sessions", "users", "settings"];
  const rows = await Promise.all(
    tables.map((table) => it.database.query<{ text: string }>(`SELECT t::text AS text FROM ${table} t`)),
  );
  const kept = [...it.log, JSON.stringify(rows)].join("\n");
  expect(web.secrets.size).toBeGreaterThan(15);
  for (const secret of web.secrets) expect(kept).not.toContain(secret);
});
