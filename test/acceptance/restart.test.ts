import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { createPostgresEngine } from "../../src/engines/postgres/engine.js";
import { query } from "../support/query.js";
import { until } from "../support/until.js";
import { openDatabases } from "./databases.js";
import { build, freePort, startBuiltServer } from "./server.js";

const { missing } = await createPostgresEngine(process.env["PATH"] ?? "");

beforeAll(() => {
  if (process.env["CI"] === "true" && missing !== null) throw new Error(missing);
  build();
}, 120_000);

test.skipIf(missing !== null)(
  "whoever stops Gatehouse stops its databases, and its next start brings them back with their data",
  async () => {
    const home = await mkdtemp(join(tmpdir(), "gatehouse-restart-"));
    // As root the databases run as other users, who must get to their data.
    await chmod(home, 0o755);
    const port = await freePort();
    const config = join(home, "config.yaml");
    await writeFile(config, `regions: { local: { ports: ${port}-${port} } }`);
    const settings = { GATEHOUSE_HOME: home, GATEHOUSE_CONFIG: config };
    const first = await startBuiltServer(settings);
    const { clientId, clientSecret } = first;
    const { call, create } = await openDatabases(first);
    await until("the region says what it can run", async () => {
      const versions = await call<readonly unknown[]>("GET", "/deployments/versions");
      return versions.length > 0;
    });
    const { connectionUrl } = await create("kept", "default");
    await query(connectionUrl, "CREATE TABLE kept AS SELECT 1 AS x");
    expect(await first.stop()).toBe(0);
    await expect(query(connectionUrl, "SELECT x FROM kept")).rejects.toThrow("ECONNREFUSED");

    const second = await startBuiltServer(settings);
    try {
      const rows = await until("it serves again", () =>
        query<{ x: number }>(connectionUrl, "SELECT x FROM kept").catch(() => null),
      );
      expect(rows).toEqual([{ x: 1 }]);
      await (await openDatabases({ ...second, clientId, clientSecret })).terminateAll();
    } finally {
      await second.stop();
      await rm(home, { recursive: true, force: true });
    }
  },
  120_000,
);
