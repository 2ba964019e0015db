import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ensureBootstrapToken } from "../../src/domain/people/bootstrap-token.js";
import { failureOf, openPeople, type PeopleHarness, person, visit } from "./support.js";

let h: PeopleHarness;
beforeAll(async () => {
  h = await openPeople();
});
beforeEach(() => h.reset());
afterAll(() => h.close());

const roles = async (): Promise<string[]> =>
  (await h.prisma.user.findMany({ orderBy: { id: "asc" } })).map(({ role }) => role);

const lastEvent = () => h.prisma.auditEvent.findFirstOrThrow({ orderBy: { id: "desc" } });

describe("the first sign-up", () => {
  test("from this machine owns the default organization, and all its projects", async () => {
    await expect(h.people.signUp(person("ada"), visit({ local: true }))).resolves.toEqual({
      username: "ada",
      email: "ada@example.com",
    });
    const ada = await h.prisma.user.findFirstOrThrow();
    expect(ada).toMatchObject({ role: "owner", allProjects: true, organizationId: h.organizationId });
    expect(ada.passwordHash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await lastEvent()).toMatchObject({
      ...{ action: "user.signup", outcome: "success", actorKind: "user", actorName: "ada" },
      ...{ organizationId: h.organizationId, targetId: ada.id, details: { role: "owner", first: true } },
    });
  });

  test("from elsewhere is refused, and says what it takes", async () => {
    const error = await failureOf(h.people.signUp(person("eve"), visit()));
    expect(error.code).toBe("forbidden");
    expect(error.message).toContain("bootstrap token");
    expect(await roles()).toEqual([]);
    expect(await lastEvent()).toMatchObject({
      ...{ action: "user.signup", outcome: "denied", actorKind: "anonymous", details: { reason: "closed" } },
    });
  });

  test("from elsewhere owns it with the bootstrap token, which works once", async () => {
    const { bootstrapToken } = h;
    await h.people.signUp(person("ada", { bootstrapToken }), visit());
    expect(await roles()).toEqual(["owner"]);
    const error = await failureOf(h.people.signUp(person("eve", { bootstrapToken }), visit()));
    expect(error).toMatchObject({ code: "forbidden", message: expect.stringContaining("an administrator") });
    expect(await roles()).toEqual(["owner"]);
    expect(await lastEvent()).toMatchObject({
      outcome: "failure",
      details: { reason: "wrong bootstrap token" },
    });
  });

  test("spends the bootstrap token even where it was not used", async () => {
    await h.people.signUp(person("ada"), visit({ local: true }));
    const error = await failureOf(
      h.people.signUp(person("eve", { bootstrapToken: h.bootstrapToken }), visit()),
    );
    expect(error.code).toBe("forbidden");
  });

  test("with a wrong bootstrap token is refused, from this machine too", async () => {
    const bootstrapToken = `${h.bootstrapToken.slice(0, -1)}${h.bootstrapToken.endsWith("A") ? "B" : "A"}`;
    for (const local of [true, false]) {
      const error = await failureOf(h.people.signUp(person("eve", { bootstrapToken }), visit({ local })));
      expect(error.code).toBe("forbidden");
    }
    expect(await roles()).toEqual([]);
  });

  test("is no longer the first where an administrator made an owner before", async () => {
    await h.prisma.user.create({
      data: {
        ...{ id: crypto.randomUUID(), organizationId: h.organizationId, username: "grace" },
        ...{ email: "grace@example.com", passwordHash: "-", role: "owner", createdBy: "administrator" },
      },
    });
    const error = await failureOf(h.people.signUp(person("eve"), visit({ local: true })));
    expect(error.message).toContain("an administrator creates users");
  });

  test("stays the first for ever: when all users are gone, nobody becomes owner by signing up", async () => {
    await h.people.signUp(person("ada"), visit({ local: true }));
    await h.prisma.user.deleteMany();
    const error = await failureOf(h.people.signUp(person("eve"), visit({ local: true })));
    expect(error.code).toBe("forbidden");
  });

  test("happens once, however many come at the same time: one owner", async () => {
    const names = ["a", "b", "c", "d", "e", "f"];
    const settled = await Promise.allSettled(
      names.map((name, index) =>
        h.people.signUp(
          person(name, index % 2 === 0 ? {} : { bootstrapToken: h.bootstrapToken }),
          visit({ local: index % 2 === 0 }),
        ),
      ),
    );
    expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await roles()).toEqual(["owner"]);
  });

  test("happens once where later ones may watch: one owner, viewers beside", async () => {
    const { people } = h.another({ ALLOW_SIGNUP: "true" });
    await Promise.all(
      ["a", "b", "c", "d"].map((name) => people.signUp(person(name), visit({ local: true }))),
    );
    expect((await roles()).sort()).toEqual(["owner", "viewer", "viewer", "viewer"]);
  });
});

describe("later sign-ups", () => {
  test("are refused: an administrator creates users", async () => {
    await h.people.signUp(person("ada"), visit({ local: true }));
    const error = await failureOf(h.people.signUp(person("bob"), visit({ local: true })));
    expect(error).toMatchObject({
      code: "forbidden",
      message: expect.stringContaining("an administrator creates users"),
    });
  });

  test("join the default organization as viewers where ALLOW_SIGNUP is true", async () => {
    const { people } = h.another({ ALLOW_SIGNUP: "true" });
    await people.signUp(person("bob"), visit());
    // A viewer takes nothing away from whoever comes first from the machine itself.
    await people.signUp(person("ada"), visit({ local: true }));
    await people.signUp(person("cy"), visit({ local: true }));
    const rows = await h.prisma.user.findMany({ orderBy: { username: "asc" } });
    expect(rows.map(({ username, role }) => [username, role])).toEqual([
      ["ada", "owner"],
      ["bob", "viewer"],
      ["cy", "viewer"],
    ]);
    expect(rows.every(({ organizationId }) => organizationId === h.organizationId)).toBe(true);
  });

  test("are limited per address", async () => {
    const { people } = h.another();
    const address = "198.51.100.7";
    for (let i = 0; i < 60; i += 1) await failureOf(people.signUp(person("eve"), visit({ address })));
    const error = await failureOf(people.signUp(person("eve"), visit({ address })));
    expect(error.code).toBe("rate_limited");
    expect(Number(error.details["retryAfter"])).toBeGreaterThan(0);
  });
});

describe("names", () => {
  test("are kept in lower case, and are unique whatever the case", async () => {
    const { people } = h.another({ ALLOW_SIGNUP: "true" });
    const ada = { ...person("Ada.L"), email: "Ada@Example.COM" };
    await expect(people.signUp(ada, visit({ local: true }))).resolves.toEqual({
      username: "ada.l",
      email: "ada@example.com",
    });
    const sameName = { ...person("ADA.L"), email: "other@example.com" };
    const sameEmail = { ...person("other"), email: "ADA@example.com" };
    for (const twin of [sameName, sameEmail]) {
      expect(await failureOf(people.signUp(twin, visit()))).toMatchObject({ code: "conflict" });
    }
  });

  test("are unique among sign-ups at the same time too", async () => {
    const { people } = h.another({ ALLOW_SIGNUP: "true" });
    const settled = await Promise.allSettled(
      [1, 2, 3, 4].map(() => people.signUp(person("twin"), visit({ local: true }))),
    );
    const failures = settled.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
    expect(failures.map((error) => error.code)).toEqual(["conflict", "conflict", "conflict"]);
  });

  test.each([
    ["", "/username"],
    ["-dash", "/username"],
    ["a@b.example", "/username"],
    ["a b", "/username"],
    ["x".repeat(65), "/username"],
  ])("%j is no user name", async (username, path) => {
    const error = await failureOf(h.people.signUp({ ...person("ada"), username }, visit({ local: true })));
    expect(error.errors.map((fault) => fault.path)).toEqual([path]);
  });

  test.each(["", "ada", "@example.com", "ada@", "ada@.com", "a@b@c.example", `${"x".repeat(250)}@x.com`])(
    "%j is no e-mail address",
    async (email) => {
      const error = await failureOf(h.people.signUp({ ...person("ada"), email }, visit({ local: true })));
      expect(error.errors.map((fault) => fault.path)).toEqual(["/email"]);
    },
  );
});

describe("the bootstrap token", () => {
  test("is told once, and kept as a hash alone", async () => {
    expect(h.bootstrapToken).toMatch(/^[\w-]{43}$/);
    const told: string[] = [];
    await ensureBootstrapToken(h.prisma, h.masterKey, (token) => void told.push(token));
    expect(told).toEqual([]);
    const settings = await h.database.query<{ text: string }>("SELECT settings::text AS text FROM settings");
    expect(JSON.stringify(settings)).not.toContain(h.bootstrapToken);
  });

  test("is made once by processes that start together, and not where somebody owns the installation", async () => {
    const told: string[] = [];
    const ensure = () => ensureBootstrapToken(h.prisma, h.masterKey, (token) => void told.push(token));
    const kept = await h.prisma.setting.findMany();
    await h.prisma.setting.deleteMany();
    await Promise.all([ensure(), ensure(), ensure()]);
    expect(told).toHaveLength(1);
    await h.people.signUp(person("ada", { bootstrapToken: told[0] ?? "" }), visit());
    await h.prisma.setting.deleteMany();
    await ensure();
    expect(told).toHaveLength(1);
    expect(await h.prisma.setting.count()).toBe(0);
    for (const { key, value } of kept) await h.prisma.setting.create({ data: { key, value: value ?? {} } });
  });

  test("is not stored where it could not be told", async () => {
    const kept = await h.prisma.setting.findMany();
    await h.prisma.setting.deleteMany();
    const fails = ensureBootstrapToken(h.prisma, h.masterKey, () => {
      throw new Error("the terminal is gone");
    });
    await expect(fails).rejects.toThrow("the terminal is gone");
    expect(await h.prisma.setting.count()).toBe(0);
    for (const { key, value } of kept) await h.prisma.setting.create({ data: { key, value: value ?? {} } });
  });
});
