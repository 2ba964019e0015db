import { createWriteStream } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { afterEach, expect, test, vi } from "vitest";
import { MasterKey } from "../../src/platform/crypto.js";
import { createStore, ProjectApi } from "../http/project/support.js";
import { type OperationAnswer, openInstallation } from "../support/installation.js";
import { endAllProcesses, startWorkerOf } from "../support/processes.js";
import { until } from "../support/until.js";

vi.setConfig({ testTimeout: 240_000 });

const ROWS = 600_000;
const LIMIT_MIB = 256;

afterEach(endAllProcesses);

/** The most memory that a process ever had, as the kernel counts it. */
async function peakMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) / 1_024;
}

test.skipIf(process.platform !== "linux")(
  `a worker that decodes ${ROWS} rows of a file, and those of a table, stays below ${LIMIT_MIB} MiB`,
  async () => {
    const masterKey = MasterKey.generate();
    const gatehouse = await openInstallation({ worker: false, env: { GATEHOUSE_MASTER_KEY: masterKey } });
    const store = await createStore();
    try {
      await mkdir(join(gatehouse.filesRoot, "in"));
      await pipeline(lines(), createWriteStream(join(gatehouse.filesRoot, "in/big.csv")));
      const api = new ProjectApi(gatehouse);
      const postgres = { type: "postgres", version: "1.0.0", config: store.config };
      const file = (path: string) => ({ type: "file", version: "1.0.0", config: { path } });
      const rest = { frequency: "", streams_config: { streams: [{ name: "big" }] } };
      const jobs = [
        { source: { name: "file", ...file("in") }, destination: { name: "table", ...postgres } },
        { source: { name: "table", ...postgres }, destination: { name: "file", ...file("out") } },
      ];
      const worker = await startWorkerOf(gatehouse, masterKey);
      for (const [index, ends] of jobs.entries()) {
        const { id } = await api.make("/jobs", { ...rest, ...ends, name: `job ${index}` });
        const operationId = await api.sync(id);
        const done = await until(
          `operation ${operationId} is done`,
          async () => {
            const { body } = await gatehouse.call<OperationAnswer>(
              "GET",
              `/api/v1/operations/${operationId}`,
            );
            return body.done ? body : null;
          },
          200_000,
        );
        expect(done).toMatchObject({ status: "succeeded", result: { rows: ROWS } });
        expect(await peakMib(worker.pid)).toBeLessThan(LIMIT_MIB);
      }
    } finally {
      await endAllProcesses();
      await gatehouse.close();
      await store.drop();
    }
  },
);

async function* lines(): AsyncGenerator<string> {
  yield "id,name,amount,at,note\n";
  for (let i = 0; i < ROWS; i += 1_000) {
    const rows = Array.from({ length: 1_000 }, (_, j) => i + j);
    yield rows
      .map((n) => `${n},name ${n},${(n / 100).toFixed(2)},2024-01-0${(n % 9) + 1}T10:00:00Z,"note, ${n}"\n`)
      .join("");
  }
}
