import { decodeProtectedHeader } from "jose";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LONGEST_TOKEN_S, ROTATION_TIMES, rotateKeys, rotateWhenDue } from "../../src/auth/key-rotation.js";
import { JWKS_MAX_AGE_S, RELOAD_EVERY_MS } from "../../src/auth/keys.js";
import { runKeys } from "../../src/cli/keys-commands.js";
import { TOKEN_LIFETIME } from "../../src/domain/access/limits.js";
import type { Clock } from "../../src/platform/clock.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { until } from "../support/until.js";
import { type Fleet, type Instance, openFleet } from "./support.js";

let fleet: Fleet;
/** Of all processes here; it goes on only where a test says so. */
const clock: Clock & { offset: number } = {
  offset: 0,
  now: () => new Date(Date.now() + clock.offset),
};

beforeEach(async () => {
  clock.offset = 0;
  fleet = await openFleet();
});
afterEach(() => fleet.close());

const kidOf = (token: string): string => decodeProtectedHeader(token).kid ?? "";
const kidsOf = ({ access }: Instance): string[] => access.keys.jwks.keys.map(({ kid }) => kid);
const rotate = () => rotateKeys({ prisma: fleet.prisma, masterKey: fleet.masterKey, clock }, "a test");
const SECOND = 1_000;

describe("a rotation", () => {
  test("breaks no token: the next key is known everywhere before it signs anywhere, the former until its last token is over", async () => {
    const [first, second] = [await fleet.open({ clock }), await fleet.open({ clock })];
    const before = await first.token(fleet.admin);
    const former = kidOf(before);
    const { kid: next, started } = await rotate();
    expect(started).toBe(true);

    // Published. Nobody signs with it, also who has read it.
    await first.access.keys.reload();
    expect(kidsOf(first)).toEqual([former, next]);
    expect(kidsOf(second)).toEqual([former]);
    for (const each of [first, second]) expect(kidOf(await each.token(fleet.admin))).toBe(former);

    // All have read it before it signs.
    await second.access.keys.reload();
    clock.offset = ROTATION_TIMES.publishMs - 5 * SECOND;
    expect(kidOf(await first.token(fleet.admin))).toBe(former);

    // Its time has come: in every process, by the clock alone.
    clock.offset = ROTATION_TIMES.publishMs + SECOND;
    const after = await first.token(fleet.admin);
    expect(kidOf(after)).toBe(next);
    expect(kidOf(await second.token(fleet.admin))).toBe(next);
    for (const each of [first, second]) {
      for (const token of [before, after]) expect((await each.call(token)).status).toBe(200);
    }

    // The former verifies as long as any token of it can live.
    clock.offset = ROTATION_TIMES.publishMs + LONGEST_TOKEN_S * SECOND;
    await first.access.keys.reload();
    expect(kidsOf(first)).toEqual([former, next]);
    clock.offset += ROTATION_TIMES.graceMs + 2 * SECOND;
    await first.access.keys.reload();
    expect(kidsOf(first)).toEqual([next]);
    expect(await first.access.keys.publicPem(former)).toBeNull();
  });

  test("reaches a process that has read nothing: it looks for a kid that it does not know", async () => {
    const [signs, sleeps] = [await fleet.open({ clock }), await fleet.open({ clock })];
    const { kid } = await rotate();
    await signs.access.keys.reload();
    clock.offset = ROTATION_TIMES.publishMs + SECOND;
    const token = await signs.token(fleet.admin);
    expect(kidOf(token)).toBe(kid);
    expect(kidsOf(sleeps)).not.toContain(kid);
    // Not before two seconds after its last look, which was its start.
    await until("the token is accepted", async () => (await sleeps.call(token)).status === 200, 5_000);
  });

  test("that is under way is not started again, by however many at once", async () => {
    await fleet.open();
    const all = await Promise.all(Array.from({ length: 4 }, rotate));
    expect(all.filter(({ started }) => started)).toHaveLength(1);
    expect(new Set(all.map(({ kid }) => kid)).size).toBe(1);
    expect(await fleet.prisma.signingKey.count()).toBe(2);
    expect(await fleet.prisma.auditEvent.count({ where: { action: "keys.rotate" } })).toBe(1);
  });

  test("keeps the former key for tokens that live longer than the API allows", async () => {
    await fleet.open();
    await fleet.newClient({ tokenLifetime: 2 * LONGEST_TOKEN_S });
    const { activatesAt, kid } = await rotate();
    const [former] = await fleet.prisma.signingKey.findMany({ where: { kid: { not: kid } } });
    expect(Number(former?.retiredAt) - Number(activatesAt)).toBeGreaterThanOrEqual(
      2 * LONGEST_TOKEN_S * SECOND,
    );
  });

  test("takes longer than anybody may go without looking, and is long enough for the longest token", () => {
    expect(ROTATION_TIMES.publishMs).toBeGreaterThan(JWKS_MAX_AGE_S * SECOND + RELOAD_EVERY_MS);
    expect(LONGEST_TOKEN_S).toBeGreaterThanOrEqual(TOKEN_LIFETIME.maximum);
  });

  test("under another master key is refused: nobody could sign with its key", async () => {
    await fleet.open();
    const strange = { prisma: fleet.prisma, masterKey: new MasterKey(MasterKey.generate()), clock };
    await expect(rotateKeys(strange, "a test")).rejects.toThrow("GATEHOUSE_MASTER_KEY");
    expect(await fleet.prisma.signingKey.count()).toBe(1);
  });

  test("forgets keys that have verified nothing for long", async () => {
    await fleet.open({ clock });
    const { kid: second } = await rotate();
    clock.offset = 2 * LONGEST_TOKEN_S * SECOND;
    const { kid: third } = await rotate();
    expect((await fleet.prisma.signingKey.findMany()).map(({ kid }) => kid).sort()).toEqual(
      [second, third].sort(),
    );
  });

  test("begins by itself when the newest key is old enough, once in all processes", async () => {
    const [a, b] = [await fleet.open({ clock }), await fleet.open({ clock })];
    const deps = ({ access }: Instance) => ({
      ...{ prisma: fleet.prisma, masterKey: fleet.masterKey, clock, keys: access.keys, everyDays: 90 },
      logger: a.app.log as never,
    });
    const day = 86_400_000;
    clock.offset = 89 * day;
    expect(await rotateWhenDue(deps(a))).toBeNull();
    clock.offset = 91 * day;
    const both = await Promise.all([rotateWhenDue(deps(a)), rotateWhenDue(deps(b))]);
    expect(both.filter((rotation) => rotation?.started)).toHaveLength(1);
    for (const each of [a, b]) {
      await each.access.keys.reload();
      expect(kidsOf(each)).toHaveLength(2);
    }
    clock.offset += 89 * day;
    expect(await rotateWhenDue(deps(a))).toBeNull();
  });
});

describe("gatehouse keys", () => {
  const run = async (...args: string[]): Promise<{ code: number; output: string }> => {
    const lines: string[] = [];
    const { log, error } = console;
    console.log = console.error = (text: string) => void lines.push(text);
    try {
      const env = { DATABASE_URL: fleet.database.url, GATEHOUSE_MASTER_KEY: material };
      return { code: await runKeys(args, env, "/"), output: lines.join("\n") };
    } finally {
      Object.assign(console, { log, error });
    }
  };
  const material = MasterKey.generate();

  test("rotate and list say what happens when", async () => {
    // With a master key that is known here.
    await fleet.open({ masterKey: new MasterKey(material), env: { GATEHOUSE_MASTER_KEY: material } });
    const rotated = await run("rotate");
    expect(rotated).toMatchObject({
      code: 0,
      output: expect.stringMatching(/is published, and signs from 20/),
    });
    expect((await run("rotate")).output).toContain("under way already");
    const { output } = await run("list");
    expect(output).toMatch(/ {2}signs {2}\(/);
    expect(output).toMatch(/ {2}signs from 20/);
  });

  test("names its commands to who asks for another", async () => {
    for (const args of [[], ["fly"], ["constructor"], ["rotate", "now"]]) {
      expect(await run(...args)).toMatchObject({ code: 64, output: expect.stringContaining("keys rotate") });
    }
  });
});
