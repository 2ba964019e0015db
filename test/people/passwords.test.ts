import argon2 from "@node-rs/argon2";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Gate, Turns } from "../../src/domain/people/gate.js";
import {
  hashPassword,
  isOutdatedHash,
  requireGoodPassword,
  verifyPassword,
} from "../../src/domain/people/passwords.js";
import { AppError } from "../../src/platform/errors.js";
import { failureOf } from "./support.js";

afterEach(() => vi.restoreAllMocks());

describe("a password", () => {
  test("is kept as an argon2id hash with a salt of its own", async () => {
    const [one, two] = [await hashPassword("correct horse"), await hashPassword("correct horse")];
    expect(one).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(one).not.toBe(two);
    await expect(verifyPassword(one, "correct horse")).resolves.toBe(true);
    await expect(verifyPassword(one, "correct horsf")).resolves.toBe(false);
    expect(isOutdatedHash(one)).toBe(false);
    expect(isOutdatedHash(await argon2.hash("x", { timeCost: 4 }))).toBe(true);
  });

  test("of nobody is never right, and costs one check", async () => {
    const verify = vi.spyOn(argon2, "verify");
    await expect(verifyPassword(null, "")).resolves.toBe(false);
    expect(verify).toHaveBeenCalledTimes(1);
  });

  const owner = { username: "ada.lovelace", email: "ada@example.com" };
  const faultOf = (plain: string): string => {
    try {
      requireGoodPassword(plain, owner);
      return "";
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      expect(error.message).not.toContain(plain);
      expect(error.errors.map(({ path }) => path)).toEqual(["/password"]);
      return error.message;
    }
  };

  test.each([
    ["1234567", "at least 8"],
    ["🐎🐎🐎🐎🐎🐎🐎", "at least 8"],
    ["x1".repeat(129), "at most 256"],
    ["Ada.Lovelace", "user name"],
    [" ada@example.com ", "e-mail"],
    ["aaaaaaaaaaaa", "one character"],
  ])("%j will not do", (plain, message) => {
    expect(faultOf(plain)).toContain(message);
  });

  test.each(["12345678", "🐎🐎🐎🐎🐎🐎🐎🐮", "x1".repeat(128), "ada.lovelace1"])("%j will do", (plain) => {
    expect(faultOf(plain)).toBe("");
  });
});

describe("hashing takes turns", () => {
  /** Work that ends when it is told to. */
  const pending = () => {
    const ends: (() => void)[] = [];
    const begin = () => new Promise<void>((resolve) => ends.push(resolve));
    return { ends, begin };
  };

  test("some at a time, some more in line, the rest refused with a time to come back", async () => {
    const gate = new Gate({ atOnce: 2, waiting: 3 });
    const { ends, begin } = pending();
    const work = [1, 2, 3, 4, 5].map(() => gate.run(begin));
    const error = await failureOf(gate.run(begin));
    expect(error).toMatchObject({ code: "unavailable", details: { retryAfter: 1 } });
    expect(ends).toHaveLength(2);
    for (let done = 0; done < 5; done += 1) {
      await vi.waitUntil(() => ends[done] !== undefined);
      expect(ends.length).toBeLessThanOrEqual(done + 2);
      ends[done]?.();
    }
    await Promise.all(work);
    await gate.run(async () => {});
  });

  test("work that fails gives its place back", async () => {
    const gate = new Gate({ atOnce: 1, waiting: 1 });
    for (let i = 0; i < 3; i += 1)
      await expect(gate.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    await expect(gate.run(async () => 1)).resolves.toBe(1);
  });

  test("one at a time per name, others beside it", async () => {
    const turns = new Turns(1);
    const { ends, begin } = pending();
    const work = [turns.run("a", begin), turns.run("a", begin), turns.run("b", begin)];
    expect((await failureOf(turns.run("a", begin))).code).toBe("unavailable");
    expect(ends).toHaveLength(2);
    for (const end of ends) end();
    await vi.waitUntil(() => ends.length === 3);
    ends[2]?.();
    await Promise.all(work);
  });

  test("a flood of checks runs two at a time", async () => {
    let running = 0;
    let most = 0;
    const verify = argon2.verify.bind(argon2);
    vi.spyOn(argon2, "verify").mockImplementation(async (...args) => {
      running += 1;
      most = Math.max(most, running);
      return verify(...args).finally(() => {
        running -= 1;
      });
    });
    const settled = await Promise.allSettled(Array.from({ length: 80 }, () => verifyPassword(null, "x")));
    expect(most).toBe(2);
    expect(settled.filter(({ status }) => status === "rejected")).toHaveLength(80 - 2 - 64);
  });
});
