import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createPostgresEngine } from "../../src/engines/postgres/engine.js";
import { query } from "../support/query.js";
import { until } from "../support/until.js";
import { type Database, openDatabases } from "./databases.js";
import { type BuiltServer, build, freePort, ROOT, runToEnd, startBuiltServer } from "./server.js";

const README = readFileSync(join(ROOT, "README.md"), "utf8");
const ACCESS = readFileSync(join(ROOT, "docs/access.md"), "utf8");
const DEPLOYMENTS = readFileSync(join(ROOT, "docs/deployments.md"), "utf8");
const OPERATIONS = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
const WEBHOOKS = readFileSync(join(ROOT, "docs/webhooks.md"), "utf8");
/** CI has to have it. */
const canRun = process.env["CI"] === "true" || spawnSync("curl", ["--version"]).status === 0;

const databasesCanRun =
  process.env["CI"] === "true" || (await createPostgresEngine(process.env["PATH"] ?? "")).missing === null;

/** Runs the first bash block of a document as a reader would, against that server. */
function runLines(document: string, server: BuiltServer) {
  const block = /```bash\n([\s\S]*?)```/.exec(document)?.[1] ?? "";
  expect(block).toContain("/oauth/token");
  const script = block
    .replaceAll("http://localhost:8080", server.url)
    .replace("CLIENT_ID=...", `CLIENT_ID=${server.clientId}`)
    .replace("CLIENT_SECRET=...", `CLIENT_SECRET=${server.clientSecret}`);
  return spawnSync("bash", ["--norc", "-euo", "pipefail", "-c", script], {
    encoding: "utf8",
    timeout: 50_000,
  });
}

describe.skipIf(!canRun)("README.md", () => {
  let server: BuiltServer;

  beforeAll(async () => {
    build();
    server = await startBuiltServer();
  }, 240_000);

  afterAll(async () => {
    if (databasesCanRun) await (await openDatabases(server)).terminateAll();
    await server?.stop();
  }, 60_000);

  test("docs/access.md has curl lines that work as they stand there", () => {
    const ran = runLines(ACCESS, server);
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain('"active":true');
    expect(ran.stdout).toContain('"username":"ada"');
    expect(ran.stdout).toContain('"action":"client.create"');
  });

  test("docs/operations.md has lines that work as they stand there, and show what they promise", () => {
    const ran = runLines(OPERATIONS.replaceAll(".gatehouse/files", join(server.home, "files")), server);
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
    const [, created, otherBody, ...lines] = /^(true)\n(\w+)\n([\s\S]*)$/.exec(ran.stdout) ?? [];
    expect([created, otherBody]).toEqual(["true", "unprocessable"]);
    const text = lines.join("\n");
    expect(text).toMatch(/^HTTP\/1\.1 202[\s\S]*^idempotent-replayed: true/m);
    const [operation = "none"] = /(?<=^location: \/api\/v1\/operations\/)[0-9a-f-]{36}/m.exec(text) ?? [];
    // The 409 names the operation in the way; the retry has another id.
    const ids = text.match(/^[0-9a-f-]{36}$/gm) ?? [];
    expect(ids).toHaveLength(2);
    expect(ids[0]).toBe(operation);
    expect(text).toContain('"status":"cancelled","done":true\n');
    expect(text).toMatch(/^204$/m);
    expect(text).toContain(`"id":"${ids[1]}","operationType":"sync","status":"succeeded","done":true`);
    expect(text).toMatch(new RegExp(`^{"items":\\[{"id":"${operation}"[^\\n]*"nextCursor":null}$`, "m"));
  });

  test("docs/webhooks.md has lines that work as they stand there, and a receiver that checks signatures", async () => {
    const ran = runLines(WEBHOOKS.replaceAll("9000", String(await freePort())), server);
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain("signature holds: webhook.ping");
    expect(ran.stdout).not.toContain("not from Gatehouse");
    expect(ran.stdout).toContain('"eventType":"webhook.ping"');
    expect(ran.stdout).toContain('"webhook_alert_url":null');
  });

  test.skipIf(!databasesCanRun)("docs/deployments.md has lines that work as they stand there", async () => {
    const { call } = await openDatabases(server);
    await until("the region offers postgres", async () => {
      const versions = await call<readonly { engine: string }[]>("GET", "/deployments/versions");
      return versions.some(({ engine }) => engine === "postgres");
    });
    const ran = runLines(DEPLOYMENTS, server);
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
    expect(ran.stdout).toMatch(/postgresql:\/\/app:[\w-]{20,}@localhost:\d+\/app/);
    expect(
      ran.stdout.match(/"operationType":"deployment\.\w+","databaseId":"[^"]+","status":"finished"/g)?.length,
    ).toBeGreaterThan(5);
    expect(ran.stdout).not.toContain('"error":"');
  });

  test.skipIf(!databasesCanRun)(
    "examples/databases has scripts for the night, for staging, and for a disaster",
    async () => {
      const { call, create, read } = await openDatabases(server);
      const run = async (script: string, ...args: string[]) => {
        const env = {
          ...server.env,
          GATEHOUSE: server.url,
          CLIENT_ID: server.clientId,
          CLIENT_SECRET: server.clientSecret,
          NIGHT_FILE: join(server.home, "paused.json"),
        };
        const ran = await runToEnd([`examples/databases/${script}`, ...args], env);
        expect(ran).toMatchObject({ code: 0, stderr: "" });
        return ran.stdout;
      };
      for (const environment of ["production", "staging"]) {
        await call("POST", "/api/v1/projects", { slug: environment, name: environment, environment });
      }
      const [production, staging] = await Promise.all([
        create("orders", "production"),
        create("orders", "staging"),
      ]);
      const wordIn = async ({ connectionUrl }: Database) => query(connectionUrl, "SELECT word FROM kept");
      await query(production.connectionUrl, "CREATE TABLE kept AS SELECT 'kept' AS word");

      await run("refresh-staging.mjs", production.id, staging.id);
      expect(await wordIn(staging)).toEqual([{ word: "kept" }]);

      const resting = await create("resting", "staging");
      await call("PUT", `/databases/${resting.id}/pause`);
      const stateOf = async (...databases: Database[]) =>
        Promise.all(databases.map(async ({ id }) => (await read(id)).status.state));
      await run("night.mjs", "evening");
      expect(await stateOf(production, staging, resting)).toEqual(["running", "paused", "paused"]);
      expect(await run("night.mjs", "morning")).toContain("resumed: orders");
      expect(await stateOf(production, staging, resting)).toEqual(["running", "running", "paused"]);
      expect(await wordIn(staging)).toEqual([{ word: "kept" }]);

      const told = await run("keep-archive.mjs", production.id, server.home);
      const archive = told.trim().split(": ").at(-1) ?? "";
      await query(production.connectionUrl, "DROP TABLE kept");
      await run("recover.mjs", production.id, archive);
      expect(await wordIn(production)).toEqual([{ word: "kept" }]);
    },
    90_000,
  );

  test("has curl lines that do the main job as they stand there", () => {
    const ran = runLines(README, server);
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain('"status":"succeeded"');
    const copied = readFileSync(join(server.home, "files/out/customers.jsonl"), "utf8").trimEnd().split("\n");
    const original = readFileSync(join(ROOT, "examples/customers.csv"), "utf8").trimEnd().split("\n");
    expect(copied).toHaveLength(original.length - 1);
  });
});

test("the documents tell of nothing that is not in openapi.yaml", () => {
  const routes = readFileSync(join(ROOT, "openapi.yaml"), "utf8");
  const documents = `${ACCESS}${DEPLOYMENTS}${OPERATIONS}${WEBHOOKS}`.replaceAll(
    "/project/default/",
    "/project/{projectid}/",
  );
  const named = [...documents.matchAll(/\$GATEHOUSE(\/[a-z0-9/{}-]+)/g)].map(([, path = ""]) =>
    path.replace(/\/$/, ""),
  );
  expect(named.length).toBeGreaterThan(5);
  for (const path of named) expect(routes).toContain(path);
});

test("every link between the documents leads to a file", () => {
  const files = [
    "README.md",
    "access",
    "architecture",
    "deployments",
    "engines",
    "faults",
    "operating",
    "operations",
    "schedules",
    "webhooks",
  ].map((name) => (name.includes(".") ? name : `docs/${name}.md`));
  for (const file of files) {
    const text = readFileSync(join(ROOT, file), "utf8");
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
      expect(existsSync(resolve(ROOT, dirname(file), target)), `${file} -> ${target}`).toBe(true);
    }
  }
});
