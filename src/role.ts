import { startApi } from "./api.js";
import type { Config } from "./config.js";
import { MasterKey } from "./platform/crypto.js";
import { createLogger } from "./platform/logger.js";
import { masterKeyMaterial, prepareDatabase } from "./prepare.js";
import { openRuntime } from "./runtime.js";
import { EXIT, stopOnSignals } from "./shutdown.js";
import { startWorker } from "./worker.js";

const STOP_LIMIT_MS = 30_000;
/** Without its launcher a process only has to get out of the way: leases and sweeps see to its work. */
const ORPHAN_LIMIT_MS = 2_000;

/** Runs one role in this process until a signal, or until the launcher that started it is gone. */
export async function runRole(config: Config, role: "api" | "worker"): Promise<void> {
  if (config.databaseUrl === null) {
    throw new Error(
      `the role ${role} alone needs DATABASE_URL and GATEHOUSE_MASTER_KEY; \`npm start\` runs all roles`,
    );
  }
  const launched = process.send !== undefined;
  const logger = createLogger(config.logLevel, role);
  const masterKey = new MasterKey(await masterKeyMaterial(config));
  // The launcher has done it for its children.
  if (!launched) await prepareDatabase(config, config.databaseUrl, masterKey, tellFirstCredentials);
  const runtime = await openRuntime(config, config.databaseUrl, masterKey, logger);
  const running =
    role === "api" ? await startApi(runtime).catch(explainListening(config)) : await startWorker(runtime);
  const begin = stopOnSignals(async (reason) => {
    logger.info({ reason }, "stopping");
    await running.stop();
    await runtime.close();
    logger.info("stopped");
  }, STOP_LIMIT_MS);
  if (launched) {
    process.on("disconnect", () => {
      setTimeout(() => process.exit(EXIT.failed), ORPHAN_LIMIT_MS).unref();
      begin("the launcher is gone");
    });
    process.send?.({ ready: role });
  }
}

/** Prints the administrator's credentials, once: only their hash is kept. */
export function tellFirstCredentials({
  clientId,
  clientSecret,
}: {
  clientId: string;
  clientSecret: string;
}): void {
  console.log(`
  First credentials, shown this once (only a hash is kept):

    CLIENT_ID=${clientId}
    CLIENT_SECRET=${clientSecret}
`);
}

/** A port that is taken stays taken: say what to do instead of trying for ever. */
function explainListening({ host, port }: Config): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    if (error.code !== "EADDRINUSE" && error.code !== "EACCES") throw error;
    console.error(
      `gatehouse: ${host}:${port} cannot be listened on (${error.code}); set PORT to another port`,
    );
    process.exit(EXIT.config);
  };
}
