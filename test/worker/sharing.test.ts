import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { MasterKey } from "../../src/platform/crypto.js";
import { connectTo } from "../faults/bench.js";
import { createGatedSource, type GatedSource } from "../faults/holds.js";
import { files } from "../http/project/support.js";
import { type Credentials, type Installation, openInstallation } from "../support/installation.js";
import { endAllProcesses, startWorkerOf, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";

// On a machine that is busy with other things too.
vi.setConfig({ testTimeout: 120_000 });

/** What organizations may have at work, on all workers together. */
const LARGE = 3;
const SMALL = 1;
/** What one worker does at once: one alone cannot fill the large one's limit, both have one place more. */
const OF_WORKER = 2;
const SCHEDULED = 3;
/** More than there are slots: the order shows. */
const ASKED = 5;
const OTHERS = 3;

const JOBS = "/api/v1/project/default/jobs";
const WAITING = "SELECT 1 FROM operations WHERE status = 'pending'";

/** Notes whenever an attempt begins; one after the other, so that each counts all that began before it. */
const NOTES = `
  CREATE TABLE begun (organization_id uuid, worker text, scheduled boolean, running int, asked_waiting int);
  CREATE FUNCTION note_begin() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock(7003);
    INSERT INTO begun SELECT NEW.organization_id, NEW.leased_by, bool_or(o.id = NEW.id AND r.trigger = 'schedule'),
      count(*) FILTER (WHERE o.status = 'running'),
      count(*) FILTER (WHERE o.status = 'pending' AND r.trigger <> 'schedule')
    FROM operations o JOIN runs r ON r.operation_id = o.id WHERE o.organization_id = NEW.organization_id;
    RETURN NULL;
  END $$;
  CREATE TRIGGER note_begin AFTER UPDATE ON operations FOR EACH ROW WHEN (NEW.attempt > OLD.attempt)
    EXECUTE FUNCTION note_begin()`;

interface Begun {
  readonly organization_id: string;
  /** Host, pid and id. */
  readonly worker: string;
  readonly scheduled: boolean;
  /** Of its organization, with this one. */
  readonly running: number;
  /** Of its organization, and not of a schedule. */
  readonly asked_waiting: number;
}

// What decides is in the database, whichever queue delivers.
describe("two workers", () => {
  const masterKey = MasterKey.generate();
  let gatehouse: Installation;
  let source: GatedSource;
  beforeAll(async () => {
    gatehouse = await openInstallation({
      worker: false,
      env: { GATEHOUSE_MASTER_KEY: masterKey },
    });
    await gatehouse.database.query(NOTES);
    await gatehouse.putFile("in/few.csv", "id\n1\n");
    source = await createGatedSource(10);
  });
  afterEach(endAllProcesses);
  afterAll(async () => {
    await gatehouse?.close();
    await source?.database.drop();
  });

  test("keep to each organization's limit and order, and let nobody wait for what another asks for", async () => {
    const small = await gatehouse.createOrganization();
    await limit(gatehouse.organizationId, LARGE);
    await limit(small.id, SMALL);
    const gated = connectTo(source.database, {});
    const running = await createJobs(LARGE, gatehouse.admin, "running", gated);
    const timed = await createJobs(SCHEDULED, gatehouse.admin, "scheduled", gated, "@yearly");
    const asked = await createJobs(ASKED, gatehouse.admin, "asked", gated);
    const others = await createJobs(OTHERS, small.client, "other", files("few", "in/few.csv"));
    const gate = await source.hold();
    const workers = await Promise.all([startWorker(), startWorker()]);
    await sync(running, gatehouse.admin);
    await gate.reached(LARGE);
    await query("UPDATE jobs SET next_run_at = now() WHERE number = ANY ($1)", [timed]);
    await until("the schedules' runs wait", async () => (await query(WAITING)).length === SCHEDULED);
    await sync(asked, gatehouse.admin);

    await sync(others, small.client);
    await allSucceeded(small.id);
    expect(await query(WAITING)).toHaveLength(SCHEDULED + ASKED);
    await sync(others, small.client);
    await gate.release();
    await allSucceeded(small.id);
    await allSucceeded(gatehouse.organizationId);

    const begun = await query<Begun>("SELECT * FROM begun");
    expect(begun).toHaveLength(LARGE + SCHEDULED + ASKED + 2 * OTHERS);
    const most = (id: string) =>
      Math.max(...begun.flatMap((one) => (one.organization_id === id ? [one.running] : [])));
    expect([most(gatehouse.organizationId), most(small.id)]).toEqual([LARGE, SMALL]);
    const late = begun.filter(({ scheduled }) => scheduled);
    expect(late).toHaveLength(SCHEDULED);
    // Where a slot is free for each that was asked for, what is scheduled may come to the next one first.
    expect(Math.max(...late.map(({ asked_waiting }) => asked_waiting))).toBeLessThan(LARGE);
    const pids = new Set(begun.map(({ worker }) => Number(worker.split(":")[1])));
    expect(pids).toEqual(new Set(workers.map(({ pid }) => pid)));
  });

  function startWorker(): Promise<TestProcess> {
    return startWorkerOf(gatehouse, masterKey, {
      WORKER_CONCURRENCY: String(OF_WORKER),
      GATEHOUSE_SWEEP_MS: "200",
      // However slow the machine is, nothing begins twice.
      GATEHOUSE_LEASE_MS: "300000",
    });
  }

  function query<R extends object>(text: string, values: unknown[] = []): Promise<R[]> {
    return gatehouse.database.query<R>(text, values);
  }

  async function limit(organizationId: string, concurrency: number): Promise<void> {
    await query("UPDATE organizations SET concurrency = $2 WHERE id = $1", [organizationId, concurrency]);
  }

  /** Their numbers. */
  async function createJobs(
    count: number,
    client: Credentials,
    name: string,
    from: object,
    frequency = "",
  ): Promise<number[]> {
    const numbers = [];
    for (let i = 1; i <= count; i++) {
      const body = {
        ...{ name: `${name} ${i}`, frequency, streams_config: {} },
        source: { ...from, name: `from ${name} ${i}` },
        destination: files(`to ${name} ${i}`, `out/${name}${i}`),
      };
      const token = await gatehouse.token(client);
      const { text } = await gatehouse.call("POST", JOBS, { token, body });
      numbers.push((JSON.parse(text) as { data: { id: number } }).data.id);
    }
    return numbers;
  }

  async function sync(numbers: readonly number[], client: Credentials): Promise<void> {
    const token = await gatehouse.token(client);
    for (const number of numbers) {
      const answer = await gatehouse.call("POST", `${JOBS}/${number}/sync`, { token });
      expect(answer.status, answer.text).toBe(200);
    }
  }

  async function allSucceeded(organizationId: string): Promise<void> {
    const succeeded = async (): Promise<boolean> => {
      const left = await query<{ status: string; error: unknown }>(
        "SELECT status, error FROM operations WHERE organization_id = $1 AND status <> 'succeeded'",
        [organizationId],
      );
      expect(left.filter(({ status }) => status === "failed")).toEqual([]);
      return left.length === 0;
    };
    await until("all operations have succeeded", succeeded, 60_000);
  }
});
