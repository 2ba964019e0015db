import { livingDeployments, type SupervisedDeployment } from "../../domain/deployments/record.js";
import type { Database } from "../../platform/sql.js";
import { subjectOf } from "./look.js";
import type { SupervisorDeps } from "./supervisor.js";
import { inTurns } from "./turns.js";

const AT_ONCE = 8;
/** Later than any attempt at the last command, earlier than the next command. */
const LAST_ATTEMPT = Number.MAX_SAFE_INTEGER;

/**
 * Stops all servers of a region in order, when the whole installation stops (role `all`): what each should be stays as
 * it is, so the next start brings them back.
 */
export async function stopServers(
  deps: Pick<SupervisorDeps, "db" | "masterKey" | "planOf" | "site" | "logger">,
  signal: AbortSignal,
): Promise<void> {
  const { db, site, logger } = deps;
  const deployments = await livingDeployments(db, site.region.name);
  await inTurns(deployments, AT_ONCE, async (deployment) => {
    await stopServer(deps, deployment, signal).catch((error: unknown) =>
      logger.warn({ err: error, deploymentId: deployment.id }, "a server could not be stopped; it runs on"),
    );
  });
}

async function stopServer(
  deps: Parameters<typeof stopServers>[0],
  deployment: SupervisedDeployment,
  signal: AbortSignal,
): Promise<void> {
  const subject = subjectOf(deps, deps.site, deployment);
  if (subject === null) return;
  const { engine, place: seen } = subject;
  if ((await seen.status()).state === "stopped") return;
  const { id, port, limits } = seen;
  const attempt = await attemptAt(deps.db, deployment);
  const fence = { command: deployment.commandCount, attempt };
  const place = await deps.site.substrate.open({ id, port, limits }, fence, signal);
  const log = (): void => {};
  await engine.stop({ ...subject.observe(), place }, { signal, log });
}

/** Of an operation that was handed over: its next attempt goes on after the next start. */
async function attemptAt(db: Database, { operationId }: SupervisedDeployment): Promise<number> {
  if (operationId === null) return LAST_ATTEMPT;
  const [row] = await db.rows<{ attempt: number }>("SELECT attempt FROM operations WHERE id = $1", [
    operationId,
  ]);
  return row?.attempt ?? LAST_ATTEMPT;
}
