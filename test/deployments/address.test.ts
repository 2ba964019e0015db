import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { exchangeAddresses, moveToFreePort } from "../../src/domain/deployments/address.js";
import {
  readRegionReports,
  recordRegionReport,
  releaseRegionLease,
  takeRegionLease,
} from "../../src/domain/deployments/regions.js";
import { openSecrets } from "../../src/domain/deployments/secrets.js";
import { newId } from "../../src/platform/ids.js";
import { type DeploymentBench, openDeployments, REGION } from "./support.js";

let bench: DeploymentBench;

beforeAll(async () => {
  bench = await openDeployments();
});
beforeEach(() => bench.database.query("TRUNCATE deployments, region_reports CASCADE").then(() => {}));
afterAll(() => bench.close());

const report = (blockedPorts: number[]) =>
  recordRegionReport(bench.db, { region: "local", engines: [], blockedPorts, reportedBy: "a worker" });

describe("addresses", () => {
  test("are each given once, however many ask at a time, until none is left", async () => {
    const made = await Promise.all([1, 2, 3, 4].map(() => bench.deployment("creating")));
    expect(made.map(({ port }) => port).sort()).toEqual([20_000, 20_001, 20_002, 20_003]);
    await expect(bench.deployment("creating")).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("no port left between 20000 and 20003"),
    });
  });

  test("are none that somebody else listens on", async () => {
    await report([20_000, 20_001]);
    expect(await bench.deployment("creating")).toMatchObject({ port: 20_002 });
  });

  test("are changed for others where they turn out not to be free", async () => {
    const row = await bench.deployment("creating");
    const port = await bench.db.transaction((tx) => moveToFreePort(tx, REGION, row.id, [20_000, 20_001]));
    expect(port).toBe(20_002);
    expect(await bench.read(row.id)).toMatchObject({ port: 20_002 });
  });

  test("of two are exchanged with their passwords, and once per operation however often it is tried", async () => {
    const [one, two] = [await bench.deployment(), await bench.deployment()];
    const [ofOne, ofTwo] = [one, two].map((row) => openSecrets(bench.masterKey, row));
    const operationId = newId();
    const exchange = (id = operationId) =>
      bench.db.transaction((tx) => exchangeAddresses(tx, bench.masterKey, id, [one.id, two.id]));
    expect([await exchange(), await exchange()]).toEqual([true, false]);
    const after = [await bench.read(one.id), await bench.read(two.id)];
    expect(after.map(({ port }) => port)).toEqual([two.port, one.port]);
    expect(after.map((row) => openSecrets(bench.masterKey, row))).toEqual([
      { password: ofTwo?.password, adminSecret: ofOne?.adminSecret },
      { password: ofOne?.password, adminSecret: ofTwo?.adminSecret },
    ]);
    expect(await exchange(newId())).toBe(true);
    expect((await bench.read(one.id)).port).toBe(one.port);
  });
});

describe("regions", () => {
  test("say what they can run, the last word counts, and how old it is", async () => {
    await report([]);
    await report([20_003]);
    const found = (await readRegionReports(bench.db)).get("local");
    expect(found).toMatchObject({ engines: [], blockedPorts: [20_003], reportedBy: "a worker" });
    expect(found?.age).toBeLessThan(5);
  });

  test("have one supervisor at a time, and the next one has a higher term", async () => {
    const take = (holder: string) => takeRegionLease(bench.db, "elsewhere", holder, 60_000);
    const both = await Promise.all([take("one"), take("two")]);
    expect(both.filter((term) => term !== null)).toEqual([1]);
    const [holder, other] = both[0] === null ? (["two", "one"] as const) : (["one", "two"] as const);
    expect(await take(holder)).toBe(1);
    expect(await take(other)).toBeNull();
    await releaseRegionLease(bench.db, "elsewhere", holder);
    expect(await take(other)).toBe(2);
    expect(await take(holder)).toBeNull();
  });
});
