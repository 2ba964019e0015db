import argon2 from "@node-rs/argon2";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { ATTEMPT_LIMITS } from "../../src/domain/people/attempts.js";
import { networkOf } from "../../src/platform/networks.js";
import { failureOf, openPeople, PASSWORD, type PeopleHarness, person, visit } from "./support.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

let h: PeopleHarness;
beforeAll(async () => {
  h = await openPeople();
});
beforeEach(async () => {
  await h.reset();
  await h.addOwner("ada");
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => h.close());

const ada = () => h.prisma.user.findUniqueOrThrow({ where: { username: "ada" } });
const login = (password = PASSWORD, name = "ada", from = visit()) => h.people.login(name, password, from);
const refused = async (password: string, name?: string) => failureOf(login(password, name));
const lastEvent = () => h.prisma.auditEvent.findFirstOrThrow({ orderBy: { id: "desc" } });

/** So many failed logins, without the work of as many hashes. */
const failedBefore = (failedLogins: number) =>
  h.prisma.user.update({ where: { username: "ada" }, data: { failedLogins } });

describe("a login", () => {
  test.each(["ada", "ADA", " ada ", "ada@example.com", "Ada@Example.Com"])("takes %j", async (name) => {
    await expect(login(PASSWORD, name)).resolves.toMatchObject({ username: "ada" });
  });

  test("is written down with the session that it opens", async () => {
    const from = visit();
    await login(PASSWORD, "ada", from);
    const user = await ada();
    expect(user.lastLoginAt).toEqual(h.clock.now());
    expect(await lastEvent()).toMatchObject({
      ...{ action: "login", outcome: "success", actorKind: "user", actorId: user.id, actorName: "ada" },
      ...{ organizationId: h.organizationId, address: from.address, requestId: from.requestId },
    });
    expect(await h.prisma.session.findFirstOrThrow()).toMatchObject({
      ...{ userId: user.id, generation: 1, address: from.address, userAgent: "a browser" },
    });
  });

  test("takes the password however its accents were typed", async () => {
    await h.reset();
    await h.people.signUp(person("eve", { password: "crème brûlée" }), visit({ local: true }));
    await expect(login("crème brûlée".normalize("NFD"), "eve")).resolves.toBeDefined();
  });

  test("makes the hash anew where it was made with other parameters", async () => {
    const old = await argon2.hash(PASSWORD, { memoryCost: 8_192, timeCost: 3, parallelism: 1 });
    await h.prisma.user.update({ where: { username: "ada" }, data: { passwordHash: old } });
    await login();
    expect((await ada()).passwordHash).toContain("$m=19456,t=2,p=1$");
    await login();
  });

  test("fails where the password was changed while it was checked", async () => {
    const hash = await argon2.hash("another");
    const verify = argon2.verify.bind(argon2);
    vi.spyOn(argon2, "verify").mockImplementation(async (...args) => {
      const matches = await verify(...args);
      await h.prisma.user.update({
        where: { username: "ada" },
        data: { passwordHash: hash, generation: { increment: 1 } },
      });
      return matches;
    });
    expect((await refused(PASSWORD)).code).toBe("unauthenticated");
    expect(await h.prisma.session.count()).toBe(0);
  });

  test("by name and password without a session shares the lock and the limits", async () => {
    const found = await h.people.authenticate("ada", PASSWORD, visit());
    expect(found).toMatchObject({ generation: 1, identity: { kind: "user", name: "ada", projects: "all" } });
    expect(await h.prisma.session.count()).toBe(0);
    await failedBefore(4);
    await failureOf(h.people.authenticate("ada", "wrong", visit()));
    expect((await refused(PASSWORD)).code).toBe("unauthenticated");
  });
});

describe("failures look the same:", () => {
  const lock = () =>
    h.prisma.user.update({
      where: { username: "ada" },
      data: { lockedUntil: new Date(h.clock.now().getTime() + MINUTE) },
    });
  const disable = () =>
    h.prisma.user.update({ where: { username: "ada" }, data: { disabledAt: h.clock.now() } });
  const nothing = async (): Promise<void> => {};

  test.each([
    { what: "an unknown user", name: "nobody", password: PASSWORD, before: nothing, reason: "unknown user" },
    { what: "a wrong password", name: "ada", password: "wrong", before: nothing, reason: "wrong password" },
    { what: "a locked account", name: "ada", password: PASSWORD, before: lock, reason: "locked" },
    { what: "a disabled account", name: "ada", password: PASSWORD, before: disable, reason: "disabled" },
  ])("$what: same words, one check of argon2, the reason in the audit log alone", async (row) => {
    const usual = await refused("wrong");
    await row.before();
    const verify = vi.spyOn(argon2, "verify");
    const error = await refused(row.password, row.name);
    expect({ code: error.code, message: error.message, details: error.details }).toEqual({
      code: "unauthenticated",
      message: usual.message,
      details: usual.details,
    });
    expect(verify).toHaveBeenCalledTimes(1);
    // The work is the same too: both hashes ask for it.
    expect(String(verify.mock.calls[0]?.[0])).toContain("$argon2id$v=19$m=19456,");
    const event = await lastEvent();
    expect(event).toMatchObject({
      ...{ action: "login", outcome: "failure", actorKind: "anonymous", details: { reason: row.reason } },
      organizationId: row.name === "ada" ? h.organizationId : null,
    });
    expect(JSON.stringify(event)).not.toContain("nobody");
  });

  test("an unknown user takes as long as a wrong password", async () => {
    const { people } = h.another({}, { ...ATTEMPT_LIMITS, freeFailures: 1_000 });
    // Of the processor: on a clock, what others do on the machine makes more of a difference than any password.
    const costOf = async (name: string): Promise<number> => {
      const before = process.cpuUsage();
      await failureOf(people.login(name, "wrong", visit()));
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    // The cheapest of many: what a garbage collection or another thread added is in none of them.
    let [known, unknown] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let round = 0; round < 14; round += 1) {
      known = Math.min(known, await costOf("ada"));
      unknown = Math.min(unknown, await costOf("nobody"));
    }
    const ratio = unknown / known;
    expect(ratio).toBeGreaterThan(0.6);
    expect(ratio).toBeLessThan(1.6);
  });
});

describe("after failures in a row", () => {
  test("four lock nothing, and a good login forgets them", async () => {
    for (let i = 0; i < 4; i += 1) await refused("wrong");
    await login();
    expect(await ada()).toMatchObject({ failedLogins: 0, lockedUntil: null });
  });

  test("the fifth locks for 30 seconds, then each doubles it, up to 15 minutes", async () => {
    await failedBefore(4);
    for (const seconds of [30, 60, 120, 240, 480, 900, 900]) {
      await refused("wrong");
      h.clock.advance(seconds * SECOND - 1);
      expect((await refused(PASSWORD)).code).toBe("unauthenticated");
      const { lockedUntil } = await ada();
      expect(lockedUntil?.getTime()).toBe(h.clock.now().getTime() + 1);
      h.clock.advance(1);
    }
    await login();
    expect(await ada()).toMatchObject({ failedLogins: 0, lockedUntil: null });
  });

  test("tries at a locked account make the lock no longer", async () => {
    await failedBefore(4);
    for (let i = 0; i < 4; i += 1) await refused("wrong");
    expect(await ada()).toMatchObject({ failedLogins: 5 });
    h.clock.advance(30 * SECOND);
    await login();
  });

  test("a day after the last lock counting begins anew", async () => {
    await failedBefore(4);
    await refused("wrong");
    h.clock.advance(30 * SECOND + 24 * 60 * MINUTE + 1);
    await refused("wrong");
    expect(await ada()).toMatchObject({ failedLogins: 1, lockedUntil: null });
  });

  test("the lock holds in every process", async () => {
    const another = h.another();
    await failedBefore(3);
    for (const { people } of [h, another]) await failureOf(people.login("ada", "wrong", visit()));
    for (const { people } of [h, another]) {
      expect((await failureOf(people.login("ada", PASSWORD, visit()))).code).toBe("unauthenticated");
    }
  });

  test("the lock holds against many tries at once: the right password among them comes too late", async () => {
    const tries = ["1", "2", "3", "4", "5", PASSWORD, "7", "8"].map((password) => login(password));
    const settled = await Promise.allSettled(tries);
    expect(settled.every(({ status }) => status === "rejected")).toBe(true);
    expect(await ada()).toMatchObject({ failedLogins: 5 });
  });

  test("many good logins at once lock nobody out", async () => {
    await Promise.all(Array.from({ length: 8 }, () => login()));
    expect(await h.prisma.session.count()).toBe(8);
  });

  test("the existing sessions of a locked account go on", async () => {
    const { session } = await login();
    await failedBefore(4);
    await refused("wrong");
    expect((await ada()).lockedUntil).not.toBeNull();
    expect(await h.sessions.find(session.secret)).not.toBeNull();
  });
});

describe("an address that fails too often", () => {
  test("gets 429 with the time to wait, whoever it names, until its window is over", async () => {
    const { people } = h.another({}, { ...ATTEMPT_LIMITS, addressFailures: 3 });
    const address = "198.51.100.1";
    for (let i = 0; i < 3; i += 1) await failureOf(people.login(`nobody-${i}`, "wrong", visit({ address })));
    const events = await h.prisma.auditEvent.count();
    for (const name of ["ada", "nobody"]) {
      const error = await failureOf(people.login(name, PASSWORD, visit({ address })));
      expect(error.code).toBe("rate_limited");
      expect(Number(error.details["retryAfter"])).toBeLessThanOrEqual(300);
    }
    // A flood does not fill the audit log either.
    expect(await h.prisma.auditEvent.count()).toBe(events);
    await people.login("ada", PASSWORD, visit());
    h.clock.advance(ATTEMPT_LIMITS.addressWindowMs);
    await people.login("ada", PASSWORD, visit({ address }));
  });

  test.each([
    ["203.0.113.9", "203.0.113.9"],
    ["::ffff:203.0.113.9", "203.0.113.9"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:0001:0002::9", "2001:db8:1:2::/64"],
    ["2001:db8::9", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "::1"],
    [null, "unknown"],
  ])("%s counts as %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

describe("one's own password", () => {
  const change = async (current: string, next: string, sessionSecret: string | null = null) => {
    const user = await ada();
    const from = visit({ sessionSecret });
    const principal = {
      ...({ kind: "user", id: user.id, name: "ada", organizationId: h.organizationId } as const),
      ...({ projects: "all", scopes: new Set<never>() } as const),
      origin: { address: from.address, requestId: from.requestId },
    };
    return h.people.changePassword(principal, { current, next }, from);
  };

  test("is changed: the other sessions end, the own one is replaced, tokens of the old generation are over", async () => {
    const [mine, other] = [await login(), await login()];
    const session = await change(PASSWORD, "four other words", mine.session.secret);
    expect(await h.sessions.find(session?.secret ?? "")).toMatchObject({ identity: { name: "ada" } });
    for (const old of [mine, other]) expect(await h.sessions.find(old.session.secret)).toBeNull();
    expect((await ada()).generation).toBe(2);
    expect(await lastEvent()).toMatchObject({
      action: "user.password",
      outcome: "success",
      actorName: "ada",
    });
    expect((await refused(PASSWORD)).code).toBe("unauthenticated");
    await login("four other words");
  });

  test("needs the current one: a wrong one is told at its field, and counts as a failed login", async () => {
    const error = await failureOf(change("wrong", "four other words"));
    expect(error).toMatchObject({ code: "invalid_request", errors: [{ path: "/current_password" }] });
    expect((await ada()).failedLogins).toBe(1);
    await failedBefore(4);
    await failureOf(change("wrong", "four other words"));
    expect((await failureOf(change(PASSWORD, "four other words"))).code).toBe("invalid_request");
    expect((await refused(PASSWORD)).code).toBe("unauthenticated");
  });

  test.each([
    ["short", "at least 8"],
    [PASSWORD, "another one"],
    ["ada@example.com", "user name"],
  ])("is not changed to %j", async (next, message) => {
    const error = await failureOf(change(PASSWORD, next));
    expect(error.errors).toEqual([{ path: "/new_password", message: expect.stringContaining(message) }]);
  });

  test("is changed once, of two changes at the same time", async () => {
    const settled = await Promise.allSettled([
      change(PASSWORD, "one new password"),
      h.another().people.login("ada", PASSWORD, visit()),
      change(PASSWORD, "two new passwords"),
    ]);
    const changes = [settled[0], settled[2]].map((one) => one?.status).sort();
    expect(changes).toEqual(["fulfilled", "rejected"]);
    expect((await ada()).generation).toBe(2);
  });
});
