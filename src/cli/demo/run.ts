import { existsSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../platform/errors.js";
import { Api, DemoError, reasonOf } from "./api.js";
import { type Credentials, ownClient } from "./demo-client.js";
import { type Output, Screen } from "./screen.js";
import { type DemoSettings, type Env, embeddedAdminUrl, readSettings } from "./settings.js";
import { countRows, describeJob, getToken, pollOperation, showRun, startSync } from "./walk.js";
import { Warehouse } from "./warehouse.js";

const EXAMPLE = join(import.meta.dirname, "../../../examples/customers.csv");
const PROBE_TIMEOUT_MS = 5_000;

/** Shows the main job against the running server. Resolves to the exit code; what went wrong is printed. */
export async function runDemo(env: Env, cwd: string, out: Output): Promise<number> {
  const screen = new Screen(out);
  try {
    await demo(readSettings(env, cwd), screen);
    return 0;
  } catch (error) {
    screen.endProgress();
    console.error(`\ndemo: ${messageOf(error)}`);
    return 1;
  }
}

async function demo(settings: DemoSettings, screen: Screen): Promise<void> {
  if (!existsSync(EXAMPLE)) {
    throw new DemoError(`${EXAMPLE} is missing: restore it (git checkout -- examples)`);
  }
  const baseUrl = await findServer(settings);
  screen.line(`Gatehouse at ${baseUrl}`);
  const client = await chooseClient(settings, screen);
  const warehouse = await chooseWarehouse(settings, screen);
  screen.line(
    "Each request is printed as it can be repeated in a shell: with CLIENT_ID and CLIENT_SECRET of a client",
  );
  screen.line("of yours, and the access_token of the first answer as TOKEN.");
  const walk = { api: new Api(baseUrl, screen), screen, warehouse };
  await getToken(walk, client);
  const jobId = await describeJob(walk);
  const operation = await startSync(walk, jobId);
  const copied = await pollOperation(walk, operation);
  await showRun(walk, jobId);
  await countRows(walk, copied);
}

/** Where the server answers: at its public URL, or at its port on this machine where that leads elsewhere. */
async function findServer({ config }: DemoSettings): Promise<string> {
  const local = `http://localhost:${config.port}`;
  const tried: string[] = [];
  for (const url of new Set([config.publicUrl, local])) {
    try {
      const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
      const { status } = (await answer.json().catch(() => ({}))) as { status?: unknown };
      if (status === "ok") return url;
      tried.push(`${url} (is not Gatehouse, or not ready: ${answer.status})`);
    } catch (error) {
      tried.push(`${url} (${reasonOf(error)})`);
    }
  }
  throw new DemoError(
    `no Gatehouse answers at ${tried.join(" or ")}.\n` +
      "Start it with `npm start` in another terminal; if it runs on another port, set the same PORT (or PUBLIC_URL) here.",
  );
}

async function chooseClient({ client, config }: DemoSettings, screen: Screen): Promise<Credentials> {
  if (client !== null) {
    screen.line(`Client: ${client.clientId}, from CLIENT_ID and CLIENT_SECRET`);
    return client;
  }
  const own = await ownClient(config, await embeddedAdminUrl(config));
  screen.line(
    `Client: ${own.clientId}, made for this demo: it may do what follows, in the project "default", for an hour.`,
  );
  return own;
}

async function chooseWarehouse({ destinationUrl, config }: DemoSettings, screen: Screen): Promise<Warehouse> {
  if (destinationUrl !== null) {
    screen.line(`Destination: ${destinationUrl.host}${destinationUrl.pathname}, from DEMO_DATABASE_URL`);
    return Warehouse.given(destinationUrl);
  }
  const warehouse = await Warehouse.onEmbeddedServer(await embeddedAdminUrl(config));
  screen.line(
    `Destination: the database ${warehouse.config.database} on the embedded PostgreSQL, with a role of its own.`,
  );
  return warehouse;
}
