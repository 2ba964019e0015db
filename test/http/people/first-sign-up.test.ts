import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ensureBootstrapToken } from "../../../src/domain/people/bootstrap-token.js";
import { type Installation, openInstallation } from "../../support/installation.js";
import { PASSWORD } from "./support.js";

let it: Installation;
let token = "";
beforeAll(async () => {
  it = await openInstallation({ worker: false });
});
beforeEach(async () => {
  const { prisma, masterKey } = it.runtime;
  await prisma.user.deleteMany();
  await prisma.setting.deleteMany();
  await ensureBootstrapToken(prisma, masterKey, (made) => {
    token = made;
  });
});
afterAll(() => it.close());

const AWAY = "203.0.113.5";

async function signUp(
  remoteAddress: string,
  more: { body?: object; headers?: Record<string, string>; name?: string } = {},
) {
  const { body = {}, headers = {}, name = "ada" } = more;
  const payload = { username: name, email: `${name}@example.com`, password: PASSWORD, ...body };
  const answer = await it.app.inject({ method: "POST", url: "/signup", remoteAddress, payload, headers });
  const roles = (await it.runtime.prisma.user.findMany()).map(({ role }) => role);
  return { status: answer.statusCode, text: answer.body, roles };
}

test.each(["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])(
  "the first sign-up from %s owns the installation",
  async (address) => {
    expect(await signUp(address)).toMatchObject({ status: 200, roles: ["owner"] });
    expect(await signUp(address, { name: "eve" })).toMatchObject({ status: 403, roles: ["owner"] });
  },
);

test.each([AWAY, "10.0.0.1", "192.168.1.1", "fe80::1", "::ffff:203.0.113.5"])(
  "one from %s does not",
  async (address) => {
    const answer = await signUp(address);
    expect(answer).toMatchObject({ status: 403, roles: [] });
    expect(answer.text).toContain("bootstrap token");
  },
);

test.each(["x-forwarded-for", "forwarded", "x-real-ip"])(
  "what %s says makes nobody local; what came through a proxy of this machine is not local either",
  async (name) => {
    const headers = { [name]: "127.0.0.1" };
    expect(await signUp(AWAY, { headers })).toMatchObject({ status: 403, roles: [] });
    expect(await signUp("127.0.0.1", { headers })).toMatchObject({ status: 403, roles: [] });
  },
);

test("the bootstrap token works from anywhere, in the body, once", async () => {
  const body = { bootstrap_token: token };
  expect(await signUp(AWAY, { body })).toMatchObject({ status: 200, roles: ["owner"] });
  expect(await signUp(AWAY, { body, name: "eve" })).toMatchObject({ status: 403, roles: ["owner"] });
});

test("the bootstrap token works as a header too, through a proxy too", async () => {
  const headers = { "x-bootstrap-token": token, "x-forwarded-for": AWAY };
  expect(await signUp("127.0.0.1", { headers })).toMatchObject({ status: 200, roles: ["owner"] });
});

test("a page of another site cannot make the browser of this machine sign up", async () => {
  for (const headers of [
    { origin: "https://evil.example" },
    { origin: "null" },
    { "sec-fetch-site": "cross-site" },
    // DNS rebinding: the page's own name points here.
    { origin: "http://evil.example:8080", host: "evil.example:8080" },
  ]) {
    expect(await signUp("127.0.0.1", { headers })).toMatchObject({ status: 403, roles: [] });
  }
  const own = { origin: "http://127.0.0.1:8080", host: "127.0.0.1:8080", "sec-fetch-site": "same-origin" };
  expect(await signUp("127.0.0.1", { headers: own })).toMatchObject({ status: 200, roles: ["owner"] });
});

test("two first sign-ups at the same time make one owner", async () => {
  const answers = await Promise.all([
    signUp("127.0.0.1", { name: "ada" }),
    signUp("::1", { name: "bob" }),
    signUp(AWAY, { name: "cy", body: { bootstrap_token: token } }),
  ]);
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 403, 403]);
  expect(await it.runtime.prisma.user.count({ where: { role: "owner" } })).toBe(1);
});

test("the bootstrap token is in no log, and in the database as a hash alone", async () => {
  await signUp(AWAY, { body: { bootstrap_token: token } });
  const rows = await it.database.query("SELECT s::text AS text FROM settings s");
  expect(JSON.stringify(rows)).not.toContain(token);
  expect(it.log.join("\n")).not.toContain(token);
});
