import {
  type Answer,
  type CallOptions,
  type Installation,
  type InstallationOptions,
  type OperationAnswer,
  openInstallation,
} from "../../support/installation.js";
import { until } from "../../support/until.js";
import { createStore, files, holdTable, ProjectApi, type Store } from "../project/support.js";

export interface OperationView extends OperationAnswer {
  readonly nextOperationId: string | null;
  readonly progress: {
    readonly percent: number;
    readonly secondsLeft: number | null;
    readonly rows?: number;
  };
  readonly steps: readonly { readonly name: string; readonly status: string }[];
}

/** A job of the default project. */
export interface TestJob {
  readonly id: string;
  readonly number: number;
}

/** An installation with a store whose table `slow` a test can hold, so that runs that read it wait. */
export interface OperationsBench {
  readonly gatehouse: Installation;
  readonly api: ProjectApi;
  readonly store: Store;
  /** A job whose run waits at the table `slow` while somebody holds it; it writes to `out/<name>`. */
  slowJob(): Promise<TestJob & { readonly out: string }>;
  /** A job that copies a small file. */
  quickJob(): Promise<TestJob>;
  hold(): Promise<() => Promise<void>>;
  sync(job: TestJob, options?: CallOptions): Promise<Answer<OperationView>>;
  read(id: string, options?: CallOptions): Promise<Answer<OperationView>>;
  cancel(id: string, options?: CallOptions): Promise<Answer<OperationView>>;
  retry(id: string, options?: CallOptions): Promise<Answer<OperationView>>;
  /** Waits until the run of an operation reads the table that is held. */
  atTable(id: string): Promise<void>;
  close(): Promise<void>;
}

export async function openOperations(options: InstallationOptions = {}): Promise<OperationsBench> {
  const gatehouse = await openInstallation(options);
  const store = await createStore();
  await store.query("CREATE TABLE slow AS SELECT n AS id FROM generate_series(1, 3) n");
  await gatehouse.putFile("in.csv", "id\n1\n");
  const api = new ProjectApi(gatehouse);
  let made = 0;
  const make = async (source: object): Promise<TestJob & { out: string }> => {
    made += 1;
    const out = `out/${made}`;
    const body = { name: `job ${made}`, source, destination: files(`to ${made}`, out), streams_config: {} };
    const { id: number } = await api.make("/jobs", { ...body, frequency: "" });
    const [row] = await gatehouse.database.query<{ id: string }>("SELECT id FROM jobs WHERE number = $1", [
      number,
    ]);
    return { id: row?.id ?? "", number, out };
  };
  const post = (path: string) => (id: string, more?: CallOptions) =>
    gatehouse.call<OperationView>("POST", `/api/v1/operations/${id}/${path}`, more);
  return {
    ...{ gatehouse, api, store, cancel: post("cancel"), retry: post("retry") },
    slowJob: () =>
      make({ name: `slow ${made}`, type: "postgres", version: "1.0.0", config: { ...store.config } }),
    quickJob: () => make(files(`in ${made}`, "in.csv")),
    hold: () => holdTable(store, "slow"),
    sync: (job, more) => gatehouse.call<OperationView>("POST", `/api/v1/jobs/${job.id}/sync`, more),
    read: (id, more) => gatehouse.call<OperationView>("GET", `/api/v1/operations/${id}`, more),
    async atTable(id) {
      await until("the run waits at the table", async () => {
        const [found] = await gatehouse.database.query(
          `SELECT 1 FROM step_logs l JOIN runs r ON r.id = l.run_id
           WHERE r.operation_id = $1 AND l.message LIKE '%reading slow%'`,
          [id],
        );
        return found !== undefined;
      });
    },
    async close() {
      await gatehouse.close();
      await store.drop();
    },
  };
}
