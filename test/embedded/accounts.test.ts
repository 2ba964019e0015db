import { chmodSync, cpSync, mkdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { accountForRoot, isRoot } from "../../src/embedded/account.js";
import { locateBinaries, runnableBinaries } from "../../src/embedded/binaries.js";
import { cleanUp, kill, launch, query, start, temporaryFolder } from "./support.js";

const NOBODY = 65534;
const LIMIT = { timeout: 60_000 };

afterAll(cleanUp, 60_000);

test.runIf(isRoot())(
  "under root, a home that is closed to others gets its data outside, stays closed and ends with its deletion",
  LIMIT,
  async () => {
    const folder = temporaryFolder();
    chmodSync(folder, 0o700);
    const home = join(folder, "home");
    mkdirSync(home, { mode: 0o700 });
    const first = await start(home);
    await query(first.url, "create table kept as select 42 as answer");
    await first.stop();
    const data = readlinkSync(join(home, "postgres/data"));
    expect(data).toMatch(/^\/var\/lib\/gatehouse\/[0-9a-f]{12}\/data$/);
    expect(statSync(data).uid).not.toBe(0);
    for (const path of [folder, home]) expect(statSync(path).mode & 0o777).toBe(0o700);
    const second = await start(home);
    expect(await query(second.url, "select answer from kept")).toBe(42);
    expect(await query(readFileSync(join(home, "postgres/admin-url"), "utf8").trim(), "select 1")).toBe(1);
    await second.stop();

    rmSync(home, { recursive: true });
    mkdirSync(home, { mode: 0o700 });
    const anew = await start(home);
    await expect(query(anew.url, "select answer from kept")).rejects.toThrow(/does not exist/);
    await anew.stop();
  },
);

test.runIf(isRoot())("under root, programs in a closed folder are copied to an open one, once", LIMIT, () => {
  const closed = temporaryFolder();
  const open = temporaryFolder();
  const given = locateBinaries();
  cpSync(given.folder, join(closed, "native"), { recursive: true, verbatimSymlinks: true });
  chmodSync(closed, 0o700);
  const native = join(closed, "native");
  const hidden = {
    ...given,
    folder: native,
    initdb: join(native, "bin/initdb"),
    postgres: join(native, "bin/postgres"),
  };
  const account = accountForRoot(join(closed, "data"));
  const copy = runnableBinaries(hidden, account, () => open);
  expect(copy.folder.startsWith(open)).toBe(true);
  const made = statSync(copy.postgres).mtimeMs;
  expect(statSync(runnableBinaries(hidden, account, () => open).postgres).mtimeMs).toBe(made);
  expect(runnableBinaries(given, account, () => expect.fail("needs no copy"))).toBe(given);
});

test.runIf(isRoot())(
  "an ordinary user needs nothing, and root can take a turn with the same folder",
  LIMIT,
  async () => {
    const home = temporaryFolder(NOBODY);
    const nobody = { uid: NOBODY, gid: NOBODY };
    const first = await launch(home, nobody);
    expect(first.says).toMatchObject({ uid: NOBODY });
    await query(first.says.url, "create table kept as select 42 as answer");
    expect(statSync(join(home, "postgres/data")).uid).toBe(NOBODY);
    await kill(first.child, "SIGTERM");
    const byRoot = await start(home);
    expect(await query(byRoot.url, "select answer from kept")).toBe(42);
    await byRoot.stop();
    const again = await launch(home, nobody);
    expect(again.says.error).toBe(undefined);
    expect(await query(again.says.url, "select answer from kept")).toBe(42);
    await kill(again.child, "SIGTERM");
  },
);
