import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { failureOf, openPeople, PASSWORD, type PeopleHarness, visit } from "./support.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

let h: PeopleHarness;
beforeAll(async () => {
  h = await openPeople();
});
beforeEach(async () => {
  await h.reset();
  await h.addOwner("ada");
});
afterAll(() => h.close());

const login = async (sessionSecret: string | null = null): Promise<string> =>
  (await h.people.login("ada", PASSWORD, visit({ sessionSecret }))).session.secret;
const user = { username: "ada" };

describe("a session", () => {
  test("stands for its user: role, projects, organization", async () => {
    const found = await h.sessions.find(await login());
    expect(found?.identity).toMatchObject({ kind: "user", name: "ada", organizationId: h.organizationId });
    expect(found?.identity.projects).toBe("all");
    expect(found?.identity.scopes.has("user:write")).toBe(true);
  });

  test("shows the user's role and projects of now", async () => {
    const secret = await login();
    const { id: projectId } = await h.prisma.project.findFirstOrThrow();
    await h.prisma.user.update({
      where: user,
      data: { role: "viewer", allProjects: false, projects: { create: { projectId } } },
    });
    const found = await h.sessions.find(secret);
    expect(found?.identity.scopes.has("user:write")).toBe(false);
    expect(found?.identity.projects).toEqual(new Set([projectId]));
  });

  test("has a secret of 256 random bits, of which the database keeps a keyed hash", async () => {
    const secret = await login();
    expect(secret).toMatch(/^[\w-]{43}$/);
    const rows = await h.database.query<{ text: string }>("SELECT sessions::text AS text FROM sessions");
    expect(JSON.stringify(rows)).not.toContain(secret);
    expect(JSON.stringify(rows)).not.toContain(Buffer.from(secret, "base64url").toString("hex"));
  });

  test("gets a secret of its own at every login, whatever the caller came with (fixation)", async () => {
    const planted = "A".repeat(43);
    const first = await login(planted);
    const second = await login(first);
    expect(new Set([planted, first, second]).size).toBe(3);
    expect(await h.sessions.find(planted)).toBeNull();
    // And the one that the caller came with is over.
    expect(await h.sessions.find(first)).toBeNull();
    expect(await h.sessions.find(second)).not.toBeNull();
  });

  test.each(["", "x", "A".repeat(44), `${"A".repeat(42)}=`, "' OR 1=1 --"])("%j is none", async (secret) => {
    expect(await h.sessions.find(secret)).toBeNull();
    expect(await h.sessions.end(secret)).toBe(false);
  });

  test("is not found by a secret off by one", async () => {
    const secret = await login();
    const wrong = `${secret.startsWith("A") ? "B" : "A"}${secret.slice(1)}`;
    expect(await h.sessions.find(wrong)).toBeNull();
  });
});

describe("a session ends", () => {
  test("14 days after login, however busy it was", async () => {
    const secret = await login();
    for (let day = 0; day < 27; day += 1) {
      h.clock.advance(12 * HOUR);
      expect(await h.sessions.find(secret)).not.toBeNull();
    }
    h.clock.advance(12 * HOUR - 1);
    expect(await h.sessions.find(secret)).not.toBeNull();
    h.clock.advance(1);
    expect(await h.sessions.find(secret)).toBeNull();
  });

  test("after 24 hours without a request; each request puts that off", async () => {
    const secret = await login();
    h.clock.advance(DAY - MINUTE);
    expect(await h.sessions.find(secret)).not.toBeNull();
    h.clock.advance(DAY - 1);
    expect(await h.another().sessions.find(secret)).not.toBeNull();
    h.clock.advance(DAY);
    expect(await h.sessions.find(secret)).toBeNull();
  });

  test("at the times of the configuration", async () => {
    const { people, sessions } = h.another({ SESSION_LIFETIME_HOURS: "2", SESSION_IDLE_HOURS: "1" });
    const idle = (await people.login("ada", PASSWORD, visit())).session;
    const busy = (await people.login("ada", PASSWORD, visit())).session;
    expect(idle.lifetimeMs).toBe(2 * HOUR);
    h.clock.advance(59 * MINUTE);
    expect(await sessions.find(busy.secret)).not.toBeNull();
    h.clock.advance(MINUTE);
    expect(await sessions.find(idle.secret)).toBeNull();
    expect(await sessions.find(busy.secret)).not.toBeNull();
    h.clock.advance(HOUR);
    expect(await sessions.find(busy.secret)).toBeNull();
  });

  test.each([
    ["the user is disabled", () => h.prisma.user.update({ where: user, data: { disabledAt: new Date() } })],
    [
      "the organization is disabled",
      () =>
        h.prisma.organization.update({
          where: { id: h.organizationId },
          data: { disabledAt: new Date() },
        }),
    ],
    [
      "something was taken from the user",
      () => h.prisma.user.update({ where: user, data: { generation: { increment: 1 } } }),
    ],
    ["the user is deleted", () => h.prisma.user.delete({ where: user })],
  ])("at once where %s", async (_what, change) => {
    const secret = await login();
    expect(await h.sessions.find(secret)).not.toBeNull();
    await change();
    expect(await h.sessions.find(secret)).toBeNull();
    expect(await failureOf(h.people.login("ada", "wrong", visit()))).toMatchObject({
      code: "unauthenticated",
    });
    await h.prisma.organization.update({ where: { id: h.organizationId }, data: { disabledAt: null } });
  });

  test("at logout, and the others of its user go on", async () => {
    const [mine, other] = [await login(), await login()];
    const { identity } = (await h.sessions.find(mine)) ?? {};
    if (identity === undefined) throw new Error("no session");
    const from = visit({ sessionSecret: mine });
    await h.people.logout({ ...identity, origin: from }, from);
    expect(await h.sessions.find(mine)).toBeNull();
    expect(await h.sessions.find(other)).not.toBeNull();
    expect(await h.prisma.auditEvent.findFirstOrThrow({ orderBy: { id: "desc" } })).toMatchObject({
      ...{ action: "logout", outcome: "success", actorName: "ada" },
    });
  });
});

describe("sessions", () => {
  test("write down their use once a minute at most", async () => {
    const secret = await login();
    const seen = async () => (await h.prisma.session.findFirstOrThrow()).lastSeenAt;
    const opened = h.clock.now();
    h.clock.advance(MINUTE - 1);
    await h.sessions.find(secret);
    expect(await seen()).toEqual(opened);
    h.clock.advance(1);
    await h.sessions.find(secret);
    expect(await seen()).toEqual(h.clock.now());
    const { xmin } = (await h.database.query<{ xmin: string }>("SELECT xmin::text FROM sessions"))[0] ?? {};
    await Promise.all([1, 2, 3].map(() => h.sessions.find(secret)));
    expect(await h.database.query("SELECT xmin::text FROM sessions")).toEqual([{ xmin }]);
  });

  test("that are over are deleted as others log in, in batches", async () => {
    await login();
    const { userId } = await h.prisma.session.findFirstOrThrow();
    const past = new Date(h.clock.now().getTime() - 1);
    await h.prisma.session.createMany({
      data: Array.from({ length: 250 }, (_, index) => ({
        ...{ id: crypto.randomUUID(), hash: Buffer.from(`${index}`), keyId: "-", userId, generation: 1 },
        expiresAt: past,
      })),
    });
    await login();
    expect(await h.prisma.session.count()).toBe(52);
    await login();
    expect(await h.prisma.session.count()).toBe(3);
  });

  test("of a user are listed while they live, the newest first", async () => {
    await login();
    h.clock.advance(DAY);
    await login();
    h.clock.advance(MINUTE);
    await login();
    const { id } = await h.prisma.user.findUniqueOrThrow({ where: user });
    const listed = await h.sessions.list(id);
    expect(listed.map(({ createdAt }) => h.clock.now().getTime() - createdAt.getTime())).toEqual([0, MINUTE]);
    expect(JSON.stringify(listed)).not.toMatch(/hash|secret/i);
    await h.prisma.user.update({ where: user, data: { generation: { increment: 1 } } });
    expect(await h.sessions.list(id)).toEqual([]);
  });
});
