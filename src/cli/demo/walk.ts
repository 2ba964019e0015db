import { setTimeout as delay } from "node:timers/promises";
import { type Answer, type Api, DemoError } from "./api.js";
import { Secret } from "./curl.js";
import type { Credentials } from "./demo-client.js";
import type { Screen } from "./screen.js";
import type { Warehouse } from "./warehouse.js";

const PROJECT = "/api/v1/project/default";
const FILE = "examples/customers.csv";
const STREAM = "customers";
const NAMES = {
  source: "demo customers",
  destination: "demo warehouse",
  job: "demo: customers to warehouse",
};

const POLL_LIMIT_MS = 300_000;
const LOG_LINES = 12;

interface Walk {
  readonly api: Api;
  readonly screen: Screen;
  readonly warehouse: Warehouse;
}

/** Anything with a name and an integer id, as the project API shows it. */
interface Named {
  readonly id: number;
  readonly name: string;
}

interface Operation {
  readonly id: string;
  readonly status: string;
  readonly done: boolean;
  readonly progress: { readonly percent: number; readonly message: string };
  readonly result: { readonly rows: number } | null;
  readonly error: { readonly title: string; readonly detail: string } | null;
}

export async function getToken({ api, screen }: Walk, client: Credentials): Promise<void> {
  screen.step("Exchange client id and secret for a token");
  const form = {
    grant_type: "client_credentials",
    client_id: new Secret("CLIENT_ID", client.clientId),
    client_secret: new Secret("CLIENT_SECRET", client.clientSecret),
  };
  const answer = await api.call("POST", "/oauth/token", { form, expect: [401] });
  if (answer.status === 401) {
    throw new DemoError(
      `${api.baseUrl} does not know this client: CLIENT_ID and CLIENT_SECRET are wrong, or a Gatehouse with another GATEHOUSE_HOME answers there`,
    );
  }
  api.token = String((answer.body as { access_token: unknown }).access_token);
}

/** Source, destination and job; what an earlier demo made is brought up to date. Resolves to the job's id. */
export async function describeJob(walk: Walk): Promise<number> {
  const { screen, warehouse } = walk;
  const source = { name: NAMES.source, type: "file", version: "1.0.0", config: { path: FILE } };
  const { database, password } = warehouse.config;
  const config = { ...warehouse.config, password: new Secret("DEMO_PASSWORD", password) };
  const destination = { name: NAMES.destination, type: "postgres", version: "1.0.0", config };

  screen.step(`A source: the file ${FILE}`);
  await createOrReplace(walk, "sources", source);
  screen.step(`A destination: the database ${database}`);
  await createOrReplace(walk, "destinations", destination);
  screen.step("A job that copies one to the other");
  const job = await createOrReplace(walk, "jobs", {
    name: NAMES.job,
    source,
    destination,
    frequency: "",
    streams_config: { streams: [{ name: STREAM, sync_mode: "full_refresh" }] },
  });
  if (job.isNew) await warehouse.empty();
  return job.id;
}

async function createOrReplace(
  { api, screen }: Walk,
  path: "sources" | "destinations" | "jobs",
  body: Readonly<Record<string, unknown>>,
): Promise<{ id: number; isNew: boolean }> {
  const created = await api.call("POST", `${PROJECT}/${path}`, { body, expect: [409] });
  if (created.status !== 409) return { id: dataOf<Named>(created).id, isNew: true };
  const found = dataOf<Named[]>(await api.call("GET", `${PROJECT}/${path}`)).find(
    ({ name }) => name === body["name"],
  );
  if (found === undefined) throw new DemoError(`${path}: "${body["name"]}" is taken and yet not listed`);
  screen.note("It is there from an earlier demo: brought up to date.");
  await api.call("PUT", `${PROJECT}/${path}/${found.id}`, { body });
  return { id: found.id, isNew: false };
}

/** Starts a run; where an earlier one still goes on, after that. Resolves to the path of its operation. */
export async function startSync(walk: Walk, jobId: number): Promise<string> {
  const { api, screen } = walk;
  screen.step("Start it: the answer comes at once, and names the operation to follow");
  for (;;) {
    const answer = await api.call("POST", `${PROJECT}/jobs/${jobId}/sync`, { expect: [409] });
    if (answer.status !== 409) {
      const path = answer.headers.get("operation-location");
      if (path === null) throw new DemoError("the sync was accepted without an Operation-Location");
      return path;
    }
    const blocking = (answer.body as { error?: { operationId?: string } }).error?.operationId;
    if (blocking === undefined) throw new DemoError("the job cannot be started now: try again");
    screen.note("A run of an earlier demo still goes on: it is waited for.");
    await follow(walk, `/api/v1/operations/${blocking}`);
  }
}

/** Polls the operation until it is done. Throws where it does not succeed. Resolves to the rows that it copied. */
export async function pollOperation(walk: Walk, path: string): Promise<number> {
  const { api, screen } = walk;
  screen.step("Poll the operation until it is done");
  // Shown once; the rest of the polling is the same request.
  const first = await api.call("GET", path);
  const last = await follow(walk, path, first);
  const operation = last.body as Operation;
  if (last !== first) api.show(last);
  if (operation.status !== "succeeded") {
    const why = operation.error === null ? "" : `: ${operation.error.title}. ${operation.error.detail}`;
    throw new DemoError(`the operation has ${operation.status}${why}`);
  }
  return operation.result?.rows ?? 0;
}

async function follow({ api, screen }: Walk, path: string, first?: Answer): Promise<Answer> {
  const deadline = Date.now() + POLL_LIMIT_MS;
  let answer = first ?? (await api.call("GET", path, { quiet: true }));
  for (;;) {
    const { done, progress } = answer.body as Operation;
    screen.progress(progress.percent, progress.message);
    if (done) {
      screen.endProgress();
      return answer;
    }
    if (Date.now() > deadline)
      throw new DemoError("the operation is not done after 5 minutes: is a worker running?");
    await delay(Number(answer.headers.get("retry-after") ?? "1") * 1_000);
    answer = await api.call("GET", path, { quiet: true });
  }
}

export async function showRun({ api, screen }: Walk, jobId: number): Promise<void> {
  screen.step("What ran, and what it printed");
  const tasks = dataOf<{ id: string }[]>(await api.call("GET", `${PROJECT}/jobs/${jobId}/tasks?limit=1`));
  const [task] = tasks;
  if (task === undefined) throw new DemoError("the job has no task after its run");
  const logs = await api.call("GET", `${PROJECT}/jobs/${jobId}/tasks/${task.id}/logs?limit=${LOG_LINES}`);
  const { logs: lines } = dataOf<{ logs: { time: string; level: string; message: string }[] }>(logs);
  screen.line();
  for (const { time, level, message } of lines) {
    screen.note(`${time.slice(11, 23)} ${level.padEnd(5)} ${message}`);
  }
}

/** Counts what lies at the destination now, and throws where it is not what the operation says. */
export async function countRows({ screen, warehouse }: Walk, copied: number): Promise<void> {
  screen.step("Look into the destination itself");
  const { database } = warehouse.config;
  const found = await warehouse.count(STREAM);
  screen.note(`SELECT count(*) FROM ${STREAM}  -- in the database ${database}`);
  screen.note(`${found} rows found, ${copied} rows copied.`);
  if (found !== copied)
    throw new DemoError(`the destination holds ${found} rows where ${copied} were copied`);
}

function dataOf<T>({ body }: Answer): T {
  return (body as { data: T }).data;
}
