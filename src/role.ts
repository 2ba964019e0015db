import { openMasterKey } from "./auth/master-keys.js";
import type { Config } from "./config.js";
import { createLogger } from "./platform/logger.js";
import { type Monitor, serveMonitor } from "./platform/monitor.js";
import { openTracer } from "./platform/tracer.js";
import { type FirstCredential, masterKeyMaterial, prepareDatabase } from "./prepare.js";
import { openRuntime, type Runtime } from "./runtime.js";
import { EXIT, type Stop, stopOnSignals } from "./shutdown.js";
import { VERSION } from "./version.js";

const STOP_LIMIT_MS = 30_000;
/** Without its launcher a process only has to get out of the way: leases and sweeps see to its work. */
const ORPHAN_LIMIT_MS = 2_000;
const LAUNCHER_GONE = "the launcher is gone";

/** Runs one role in this process until a signal, or until the launcher that started it is gone. */
export async function runRole(config: Config, role: "api" | "worker"): Promise<void> {
  if (config.databaseUrl === null) {
    throw new Error(
      `the role ${role} alone needs DATABASE_URL and GATEHOUSE_MASTER_KEY; \`npm start\` runs all roles`,
    );
  }
  const launched = process.send !== undefined;
  // Until there is something to stop in order.
  let begin: Stop = () => process.exit(EXIT.failed);
  if (launched) {
    process.once("disconnect", () => {
      setTimeout(() => process.exit(EXIT.failed), ORPHAN_LIMIT_MS).unref();
      begin(LAUNCHER_GONE);
    });
  }
  const logger = createLogger(config.logLevel, role);
  const masterKey = openMasterKey(await masterKeyMaterial(config), config.oldMasterKeys);
  // The launcher has done it for its children.
  if (!launched) await prepareDatabase(config, config.databaseUrl, masterKey, tellFirstCredentials);
  const tracer = await openTracer({ endpoint: config.otlpEndpoint, role, version: VERSION }, logger);
  const runtime = await openRuntime(config, config.databaseUrl, masterKey, logger, { tracer });
  const running = await start(role, runtime).catch(explainListening("PORT", config));
  const monitor = await monitorOf(runtime, running);
  begin = stopOnSignals(async (reason) => {
    logger.info({ reason }, "stopping");
    // A launcher that stops stops everything; one that was killed left its servers to the next.
    // With a launcher there is no other api that requests could be sent to meanwhile.
    await running.stop({ withServers: launched && reason !== LAUNCHER_GONE, lingers: !launched });
    await monitor?.close();
    await runtime.close();
    logger.info("stopped");
  }, STOP_LIMIT_MS);
  process.send?.({ ready: role });
}

interface Running {
  ready(): Promise<void>;
  stop(how?: { readonly withServers: boolean; readonly lingers: boolean }): Promise<void>;
}

/** A role loads its own code alone: a worker nothing of http and tokens. */
async function start(role: "api" | "worker", runtime: Runtime): Promise<Running> {
  if (role === "api") return (await import("./api.js")).startApi(runtime);
  return (await import("./worker.js")).startWorker(runtime);
}

/** The port for monitoring, where one is set: it is there until the end of a stop. */
async function monitorOf({ config, metrics, logger }: Runtime, { ready }: Running): Promise<Monitor | null> {
  const { metricsHost: host, metricsPort: port } = config;
  if (port === null) return null;
  return serveMonitor({ host, port }, { metrics, logger, ready }).catch(
    explainListening("METRICS_PORT", { host, port }),
  );
}

/** Prints first credentials, once: only their hashes are kept. */
export function tellFirstCredentials(credential: FirstCredential): void {
  if ("bootstrapToken" in credential) {
    console.log(`
  The first person to sign up owns this installation: from this machine, or from anywhere with this token
  (as bootstrap_token of POST /signup; shown this once):

    BOOTSTRAP_TOKEN=${credential.bootstrapToken}
`);
    return;
  }
  console.log(`
  First credentials, shown this once (only a hash is kept):

    CLIENT_ID=${credential.clientId}
    CLIENT_SECRET=${credential.clientSecret}
`);
}

/** A port that is taken stays taken: say what to do instead of trying for ever. */
function explainListening(
  name: string,
  { host, port }: Pick<Config, "host" | "port">,
): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    if (error.code !== "EADDRINUSE" && error.code !== "EACCES") throw error;
    console.error(
      `gatehouse: ${host}:${port} cannot be listened on (${error.code}); set ${name} to another port`,
    );
    process.exit(EXIT.config);
  };
}
