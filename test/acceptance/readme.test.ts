import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BuiltServer, build, freePort, ROOT, startBuiltServer } from "./server.js";

const README = readFileSync(join(ROOT, "README.md"), "utf8");
const ACCESS = readFileSync(join(ROOT, "docs/access.md"), "utf8");
const WEBHOOKS = readFileSync(join(ROOT, "docs/webhooks.md"), "utf8");
/** CI has to have it. */
const canRun = process.env["CI"] === "true" || spawnSync("curl", ["--version"]).status === 0;

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

  test("docs/webhooks.md has lines that work as they stand there, and a receiver that checks signatures", async () => {
    const ran = runLines(WEBHOOKS.replaceAll("9000", String(await freePort())), server);
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain("signature holds: webhook.ping");
    expect(ran.stdout).not.toContain("not from Gatehouse");
    expect(ran.stdout).toContain('"eventType":"webhook.ping"');
    expect(ran.stdout).toContain('"webhook_alert_url":null');
  });

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
  const documents = `${ACCESS}${WEBHOOKS}`.replaceAll("/project/default/", "/project/{projectid}/");
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
    "webhooks",
  ].map((name) => (name.includes(".") ? name : `docs/${name}.md`));
  for (const file of files) {
    const text = readFileSync(join(ROOT, file), "utf8");
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
      expect(existsSync(resolve(ROOT, dirname(file), target)), `${file} -> ${target}`).toBe(true);
    }
  }
});
