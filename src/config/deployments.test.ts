import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadConfig } from "../config.js";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "gatehouse-config-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function load(content: string, more: Record<string, string> = {}) {
  writeFileSync(join(folder, "config.yaml"), content);
  return loadConfig({ GATEHOUSE_CONFIG: "config.yaml", ...more }, folder);
}

describe("without GATEHOUSE_CONFIG", () => {
  test("there are one region on this machine and three plans", () => {
    const { deployments, regions } = loadConfig({}, folder);
    expect(deployments.regions).toMatchObject([
      { name: "local", host: "127.0.0.1", domainName: "localhost", ports: { from: 20_000, to: 20_999 } },
    ]);
    expect(deployments.regions[0]?.substrate).toEqual({
      type: "process",
      folder: join(folder, ".gatehouse/regions/local"),
      firstUid: null,
    });
    expect(deployments.plans.map(({ id }) => id)).toEqual(["ds1", "ds2", "ds3"]);
    expect(regions).toEqual(["local"]);
  });
});

describe("GATEHOUSE_CONFIG", () => {
  test("names regions and plans", () => {
    const { deployments, regions } = load(`
regions:
  eu-west-1: { host: 0.0.0.0, domainName: eu.db.example.com, ports: 30000-30099 }
  us-east-1: { substrate: { type: process, folder: us, firstUid: 5000 }, domainName: us.db.example.com }
plans:
  small: { memory: 1.5GiB, storage: 1048576, engines: [postgres], snapshots: 0 }
`);
    expect(deployments.regions).toMatchObject([
      { name: "eu-west-1", domainName: "eu.db.example.com", ports: { from: 30_000, to: 30_099 } },
      { name: "us-east-1", substrate: { folder: join(folder, "us"), firstUid: 5_000 } },
    ]);
    expect(deployments.plans).toMatchObject([
      {
        id: "small",
        memoryBytes: 1.5 * 1024 ** 3,
        storageBytes: 1024 ** 2,
        engines: ["postgres"],
        snapshots: 0,
      },
    ]);
    expect(regions).toEqual(["eu-west-1", "us-east-1"]);
  });

  test("may be a folder of files, whose sections are put together", () => {
    mkdirSync(join(folder, "parts"));
    writeFileSync(join(folder, "parts/a.yaml"), "plans: { one: { memory: 1MiB, storage: 1MiB } }");
    writeFileSync(join(folder, "parts/b.json"), '{"plans":{"two":{"memory":"1MiB","storage":"1MiB"}}}');
    writeFileSync(join(folder, "parts/notes.txt"), "{ not read");
    const { deployments } = loadConfig({ GATEHOUSE_CONFIG: "parts" }, folder);
    expect(deployments.plans.map(({ id }) => id)).toEqual(["one", "two"]);
    writeFileSync(join(folder, "parts/c.yml"), "plans: { two: { memory: 2MiB, storage: 1MiB } }");
    expect(() => loadConfig({ GATEHOUSE_CONFIG: "parts" }, folder)).toThrow(
      "c.yml: plans.two is in another file too",
    );
  });

  test("that is wrong is refused with every fault in one message", () => {
    expect(() =>
      load(
        `
commands: {}
regions:
  Local: {}
  one: { substrate: { type: docker }, port: 1 }
plans:
  p: { memory: 10 apples, connections: 0 }
`,
        { PORT: "none" },
      ),
    ).toThrow(
      [
        "the configuration cannot be used:",
        "  - PORT must be a port number, 0 to 65535",
        "  - GATEHOUSE_CONFIG.commands is no setting: there are regions, plans",
        "  - regions.Local is no name: a-z 0-9 -, at most 32 characters",
        "  - regions.one.port is no setting: there are description, substrate, host, domainName, ports",
        "  - regions.one.substrate.type must be one of process",
        "  - plans.p.storage is required",
        "  - plans.p.memory must be a size of at least 1MiB, such as 256MiB or 4GiB",
        "  - plans.p.connections must be >= 1",
      ].join("\n"),
    );
  });

  test.each([
    ["a: [", /config.yaml: /],
    ["- list", /config.yaml: must be an object with sections such as regions and plans/],
    ["regions: {}", /regions must .*fewer than 1/],
    ["regions: { a: { ports: 2000-1000 } }", /regions.a.ports must be a range between 1024 and 65535/],
    ["regions: { a: { ports: 80-90 } }", /between 1024/],
    [
      "regions: { a: {}, b: {} }",
      /regions.b.ports overlap those of regions.a, and both are called localhost/,
    ],
    ["plans: { p: { memory: 1, storage: 1MiB } }", /plans.p.memory must be a size/],
  ])("%s is a fault", (content, message) => {
    expect(() => load(content)).toThrow(message);
  });

  test("that does not exist is a fault", () => {
    expect(() => loadConfig({ GATEHOUSE_CONFIG: "nowhere.yaml" }, folder)).toThrow(
      "GATEHOUSE_CONFIG cannot be read",
    );
  });

  test("has the regions that GATEHOUSE_REGIONS names", () => {
    expect(load("regions: { a: {} }", { GATEHOUSE_REGIONS: "a" }).regions).toEqual(["a"]);
    expect(load("regions: { a: {} }", { GATEHOUSE_REGIONS: "none" }).regions).toEqual([]);
    expect(() => load("regions: { a: {} }", { GATEHOUSE_REGIONS: "local" })).toThrow(
      "GATEHOUSE_REGIONS names local, which is no region; there are a",
    );
  });
});
