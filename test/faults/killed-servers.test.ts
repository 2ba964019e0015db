import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createGraphEngine } from "../../src/engines/graph/engine.js";
import { createPostgresEngine } from "../../src/engines/postgres/engine.js";
import type { Database } from "../deployments/installed.js";
import { endAllProcesses } from "../support/processes.js";
import { until } from "../support/until.js";
import { type DatabaseFaults, openDatabaseFaults } from "./databases.js";
import { fillGraph, graphOf, NODES } from "./graphs.js";
import { holdLedger } from "./holds.js";
import { countTables, fillTable, holdCopies, holdLoads, ROWS, rowsOf, writeWord } from "./tables.js";

const LIMIT_MS = 120_000;
const engines = [await createPostgresEngine(process.env["PATH"] ?? ""), await createGraphEngine()];
const isHere = (name: string) =>
  process.env["CI"] === "true" || engines.some((one) => one.name === name && one.missing === null);

/** A command that is in its midst. */
interface Attacked {
  readonly operationId: string;
  /** Whose server is killed. */
  readonly server: string;
  /** Lets what was held go on: called once the victims are dead. */
  readonly release: () => Promise<void>;
  /** Throws unless all of the command's promise holds. */
  readonly check: () => Promise<void>;
}

let faults: DatabaseFaults;

beforeAll(async () => {
  for (const { missing } of engines)
    if (process.env["CI"] === "true" && missing !== null) throw new Error(missing);
  faults = await openDatabaseFaults();
  await faults.startWorker();
}, LIMIT_MS);

afterAll(async () => {
  try {
    await faults.close();
  } finally {
    await endAllProcesses();
  }
}, LIMIT_MS);

/** Kills at once, lets go, and lets a new worker take over where the old one is dead. */
async function strike(
  attacked: readonly Attacked[],
  { worker, servers }: { readonly worker: boolean; readonly servers: boolean },
): Promise<void> {
  const pids = servers ? await Promise.all(attacked.map(({ server }) => faults.serverOf(server))) : [];
  if (worker) faults.worker().signal("SIGKILL");
  for (const pid of pids) faults.kill(pid);
  for (const { release } of attacked) await release();
  if (worker) await faults.startWorker();
  for (const { operationId } of attacked) await faults.ended(operationId);
}

async function succeeded(operationId: string): Promise<void> {
  expect(await faults.ended(operationId)).toMatchObject({ status: "succeeded", error: null });
}

/** A server that was killed after its command had ended is started again by its region's supervisor. */
async function serves<T>(id: string, look: (url: string) => Promise<T>): Promise<T> {
  return until(
    `database ${id} serves`,
    async () => look((await faults.read(id)).connectionUrl).catch(() => null),
    30_000,
  );
}

async function create(engine: string, name: string): Promise<{ operationId: string; id: string }> {
  const body = { name, plan: "ds1", region: "here" };
  const asked = await faults.gatehouse.call<{ operationId: string; database: { id: string } }>(
    "POST",
    `/deployments/databases/${engine}`,
    { body },
  );
  expect(asked.status, asked.text).toBe(202);
  return { operationId: asked.body.operationId, id: asked.body.database.id };
}

async function isTerminated(operationId: string, id: string): Promise<void> {
  await succeeded(operationId);
  const { status } = await faults.read(id);
  expect(status.state).toBe("terminated");
  const snapshots = await faults.gatehouse.call<{ kind: string; state: string; bytes: number }[]>(
    "GET",
    `/databases/${id}/snapshots`,
  );
  expect(snapshots.body[0]).toMatchObject({ kind: "final", state: "available" });
  expect(snapshots.body[0]?.bytes).toBeGreaterThan(0);
}

async function nothingStays(): Promise<void> {
  let strays: readonly string[] = [];
  await until("nothing stays", async () => {
    const locks = await faults.gatehouse.database.query<{ id: string }>(
      "SELECT operation_id AS id FROM operation_locks",
    );
    strays = [...locks.map(({ id }) => `lock of ${id}`), ...(await faults.strays())];
    return strays.length === 0;
  }).catch(() => expect(strays).toEqual([]));
}

/** What was done is not yet written down. */
const LATE = ["after a load", "before a removal", "after a first start"] as const;

const VICTIMS = [
  { name: "the database server", worker: false, servers: true },
  { name: "the worker", worker: true, servers: false },
  { name: "both", worker: true, servers: true },
];

describe.skipIf(!isHere("postgres"))("postgres", () => {
  let source: Database;
  let restored: Database;
  let imported: Database;
  /** What is terminated next. */
  let doomed: Database;
  let snapshotId: string;
  let archive: Buffer;
  const whole = { new: ROWS };

  beforeAll(async () => {
    await faults.offers("postgres");
    const names = ["source", "restored", "imported", "doomed"];
    const made = await Promise.all(names.map((name) => faults.create("postgres", name)));
    for (const { connectionUrl } of made) await fillTable(connectionUrl);
    [source, restored, imported, doomed] = made as [Database, Database, Database, Database];
    await writeWord(source.connectionUrl, "new");
    const taken = await faults.done("snapshot", source.id);
    snapshotId = taken.snapshotId ?? "";
    archive = await faults.download(`/databases/${source.id}/snapshots/${snapshotId}/download`);
  }, LIMIT_MS);

  const copying = (id: string) =>
    until(`${id} is being copied`, async () =>
      (await faults.sessionsOf(id)).some((title) => title.includes("LOCK TABLE waiting")),
    );
  const loading = (id: string) =>
    until(`${id} is being loaded`, async () =>
      (await faults.sessionsOf(id)).some((title) => /gatehouse_incoming.* COPY/.test(title)),
    );

  async function clone(
    of: Database,
    name: string,
    region: string,
  ): Promise<Attacked & { readonly copy: string }> {
    const release = await holdCopies(of.connectionUrl);
    const { operationId, databaseId: copy = "" } = await faults.ask("clone", of.id, { name, region });
    await copying(of.id);
    const check = async () => {
      await succeeded(operationId);
      expect(await serves(copy, rowsOf)).toEqual(whole);
      expect(await serves(of.id, rowsOf)).toEqual(whole);
    };
    return { operationId, server: of.id, release, check, copy };
  }

  /** Asks for something that loads into a database that holds the old rows. */
  async function load(into: Database, ask: () => Promise<{ operationId: string }>): Promise<Attacked> {
    const release = await holdLoads(into.connectionUrl);
    const { operationId } = await ask();
    await loading(into.id);
    return { operationId, server: into.id, release, check: () => isLoaded(operationId, into) };
  }

  async function isLoaded(operationId: string, into: Database): Promise<void> {
    await succeeded(operationId);
    expect(await serves(into.id, rowsOf)).toEqual(whole);
  }

  async function terminate(one: Database): Promise<Attacked> {
    const release = await holdCopies(one.connectionUrl);
    const { operationId } = await faults.ask("terminate", one.id);
    await copying(one.id);
    return { operationId, server: one.id, release, check: () => isTerminated(operationId, one.id) };
  }

  describe.each(VICTIMS)("when $name is killed with SIGKILL", (victims) => {
    const { name, worker, servers } = victims;
    const attacked = new Map<string, Attacked>();

    beforeAll(async () => {
      for (const one of [restored, imported]) await writeWord(one.connectionUrl, "old");
      // The last one goes into another region.
      const region = worker && servers ? "there" : "here";
      const copied = await clone(source, `copy: ${name}`, region);
      attacked.set("clone", copied);
      attacked.set("import", await load(imported, () => faults.importFile(imported.id, archive, 0)));
      if (worker && servers) await lateInOthers();
      else await earlyInOthers();
      await strike([...attacked.values()], victims);
      doomed = await faults.read(copied.copy);
    }, LIMIT_MS);

    async function earlyInOthers(): Promise<void> {
      attacked.set("restore", await load(restored, () => faults.ask("restore", restored.id, { snapshotId })));
      attacked.set("terminate", await terminate(doomed));
      const hold = worker ? null : await holdLedger(faults.gatehouse.database, "after a first start");
      const { operationId, id } = await create("postgres", `made: ${name}`);
      const isMaking = async () =>
        (await readdir(join(faults.folder, "places", id)).catch(() => [])).some((one) =>
          /^making-/.test(one),
        );
      await (hold === null ? until("initdb is at work", isMaking) : hold.reached(1));
      const release = async () => hold?.release();
      attacked.set("create", { operationId, server: id, release, check: () => isMade(operationId, id) });
    }

    /** Between what was done and its record. */
    async function lateInOthers(): Promise<void> {
      const hold = await holdLedger(faults.gatehouse.database, ...LATE);
      const restore = await faults.ask("restore", restored.id, { snapshotId });
      const ending = await faults.ask("terminate", doomed.id);
      const made = await create("postgres", `made: ${name}`);
      await hold.reached(3);
      const { id } = doomed;
      const release = async () => {};
      attacked.set("restore", {
        ...restore,
        server: restored.id,
        release,
        check: () => isLoaded(restore.operationId, restored),
      });
      attacked.set("terminate", {
        ...ending,
        server: id,
        release,
        check: () => isTerminated(ending.operationId, id),
      });
      attacked.set("create", {
        ...made,
        server: made.id,
        release: () => hold.drop(),
        check: () => isMade(made.operationId, made.id),
      });
    }

    async function isMade(operationId: string, id: string): Promise<void> {
      await succeeded(operationId);
      expect(await serves(id, countTables)).toBe(0);
    }

    test.each(["create", "clone", "import", "restore", "terminate"])(
      "in the midst of %s, that comes to its end, with all its data or none of another",
      (command) => attacked.get(command)?.check() ?? Promise.reject(new Error(`no ${command} was begun`)),
      60_000,
    );

    test("no process, port, folder or lock stays", nothingStays, 60_000);
  });

  test("when the server of a copy is killed while it is loaded, the clone is whole all the same", async () => {
    const { operationId, databaseId: copy = "" } = await faults.ask("clone", source.id, {
      name: "last copy",
    });
    await loading(copy);
    faults.kill(await faults.serverOf(copy));
    await succeeded(operationId);
    expect(await serves(copy, rowsOf)).toEqual(whole);
    await nothingStays();
  }, 60_000);
});

describe.skipIf(!isHere("graphneo"))("graphneo", () => {
  const whole = [{ word: "new", n: NODES }];
  let source: Database;
  let imported: Database;
  let restored: Database;
  /** What is terminated next. */
  let doomed: Database;
  let archive: Buffer;
  let snapshotId: string;

  beforeAll(async () => {
    await faults.offers("graphneo");
    const names = ["graph", "graph imported", "graph restored", "graph doomed"];
    const made = await Promise.all(names.map((name) => faults.create("graphneo", name)));
    [source, imported, restored, doomed] = made as [Database, Database, Database, Database];
    await fillGraph(source.connectionUrl, "new");
    snapshotId = (await faults.done("snapshot", source.id)).snapshotId ?? "";
    archive = await faults.download(`/databases/${source.id}/snapshots/${snapshotId}/download`);
  }, LIMIT_MS);

  const isLoaded = async (operationId: string, { id }: Database) => {
    await succeeded(operationId);
    expect(await serves(id, graphOf)).toEqual(whole);
  };

  test.each(VICTIMS)(
    "when $name is killed with SIGKILL, create, import, restore and terminate come to their end",
    async (victims) => {
      for (const one of [imported, restored]) await fillGraph(one.connectionUrl, "old");
      const { id: ending } = doomed;
      const hold = await holdLedger(faults.gatehouse.database, ...LATE);
      const restore = await faults.ask("restore", restored.id, { snapshotId });
      const removal = await faults.ask("terminate", ending);
      const made = await create("graphneo", `graph made: ${victims.name}`);
      await hold.reached(3);
      const load = await faults.importFile(imported.id, archive, 0);
      await until("the archive is tried out", () => faults.trialServer());
      const release = async () => {};
      const attacked: Attacked[] = [
        { ...load, server: imported.id, release, check: () => isLoaded(load.operationId, imported) },
        { ...restore, server: restored.id, release, check: () => isLoaded(restore.operationId, restored) },
        { ...removal, server: ending, release, check: () => isTerminated(removal.operationId, ending) },
        {
          ...made,
          server: made.id,
          release: () => (victims.worker ? hold.drop() : hold.release()),
          check: () => succeeded(made.operationId),
        },
      ];
      await strike(attacked, victims);
      for (const { check } of attacked) await check();
      expect(await serves(made.id, graphOf)).toEqual([]);
      await nothingStays();
      doomed = await faults.read(made.id);
    },
    LIMIT_MS,
  );

  test("when the server of a copy is killed while it is loaded, the clone is whole all the same", async () => {
    const { operationId, databaseId: copy = "" } = await faults.ask("clone", source.id, {
      name: "graph copy",
    });
    faults.kill(await until("the copy is loaded", () => faults.trialServer()));
    await succeeded(operationId);
    expect(await serves(copy, graphOf)).toEqual(whole);
    await nothingStays();
  }, 60_000);
});
