import { expect, onTestFinished, test } from "vitest";
import { startWorker } from "../../../src/worker.js";
import { openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import { createStore, files, type Numbered, ProjectApi } from "../project/support.js";

test("a run that may be committed does not fail because its destination cannot be asked just now", async () => {
  const gatehouse = await openInstallation({ worker: false });
  onTestFinished(gatehouse.close);
  const warehouse = await createStore();
  onTestFinished(warehouse.drop);
  const api = new ProjectApi(gatehouse);
  const at = (port: number) => ({
    ...{ name: "warehouse", type: "postgres", version: "1.0.0" },
    config: { ...warehouse.config, port },
  });
  const moveTo = async (port: number): Promise<void> => {
    const { data } = (await api.get<Numbered[]>("/destinations")).body;
    expect((await api.put(`/destinations/${data[0]?.id}`, at(port))).status).toBe(200);
  };
  await gatehouse.putFile("in/people.csv", "id,name\n1,Ann\n");
  const job = await api.make<Numbered>("/jobs", {
    ...{
      name: "people",
      source: files("people file", "in/people.csv"),
      destination: at(warehouse.config.port),
    },
    ...{ frequency: "", streams_config: {} },
  });
  const id = await api.sync(job.id);
  // As an attempt leaves it whose worker died in the midst of its commit, and it was the last but one of those that stores get.
  const begun = { name: "commit", status: "running", startedAt: "2026-01-01T00:00:00.000Z" };
  await gatehouse.database.query("UPDATE operations SET attempt = 6, steps = $2 WHERE id = $1", [
    id,
    JSON.stringify([{ ...begun, finishedAt: null, message: null }]),
  ]);
  await moveTo(1);
  const worker = await startWorker(gatehouse.runtime);
  onTestFinished(() => worker.stop());
  await until("it is given back", async () => {
    const [row] = await gatehouse.database.query<{ status: string }>(
      "SELECT status FROM operations WHERE id = $1 AND attempt = 7 AND leased_by = ''",
      [id],
    );
    return row?.status === "running";
  });
  await moveTo(warehouse.config.port);
  expect(await gatehouse.waitDone(id)).toMatchObject({ status: "succeeded", result: { rows: 1 } });
  expect(await warehouse.query("SELECT name FROM people")).toEqual([{ name: "Ann" }]);
});
