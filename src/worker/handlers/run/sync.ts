import { FencedError } from "../../../connectors/connector.js";
import type { Connections } from "../../../domain/connections/connections.js";
import { LeaseLostError } from "../../../operations/ledger.js";
import type { PrismaClient } from "../../../platform/prisma.js";
import { type Connectors, destinationOf } from "../../connectors.js";
import type { HandlerContext, OperationHandler } from "../../handler.js";
import { StepLog } from "../../step-log.js";
import { connectorContext, copyStreams, rethrowAt, type SyncResult, summarize } from "./copy.js";
import { planRun, type RunPayload, type RunPlan } from "./plan.js";
import { recordEnd, recordStart, recordTotals } from "./record.js";

export interface SyncDeps {
  readonly prisma: PrismaClient;
  readonly connections: Connections;
  readonly connectors: Connectors;
}

/** The step that puts what was written aside into place. */
const COMMIT = "commit";

/** Executes a run of a BATCH job: everything is written aside, then swapped into place at once. */
export function syncHandler(deps: SyncDeps): OperationHandler {
  return {
    type: "sync",
    async run(context) {
      const payload = context.operation.payload as RunPayload;
      const plan = await planRun(deps.prisma, deps.connections, payload);
      const log = new StepLog(plan.runId, (work) => context.write(work), context.logger);
      try {
        await context.write((tx) => recordStart(tx, plan.runId));
        const result = await sync(deps, context, plan, log);
        await context.write((tx) => recordTotals(tx, plan.runId, result));
        return result;
      } catch (error) {
        if (error instanceof FencedError) throw new LeaseLostError();
        if (!context.signal.aborted && context.operation.status !== "cancelling")
          log.line(culprit(error, plan), "error", messageFor(error));
        throw error;
      } finally {
        await log.close();
      }
    },
    mayBeDone: ({ steps }) => steps.some(({ name }) => name === COMMIT),
    settle: recordEnd,
  };
}

function culprit(error: unknown, plan: RunPlan): string {
  const vertex = (error as { problem?: { vertex?: unknown } }).problem?.vertex;
  return typeof vertex === "string" ? vertex : plan.destination.vertex.name;
}

/** Only messages made for clients reach the run's log; the rest is in the process's own. */
function messageFor(error: unknown): string {
  const detail = (error as { problem?: { detail?: unknown } }).problem?.detail;
  return typeof detail === "string" ? detail : "an internal error ended this run";
}

async function sync(
  deps: SyncDeps,
  context: HandlerContext,
  plan: RunPlan,
  log: StepLog,
): Promise<SyncResult> {
  const { destination } = plan;
  const vertex = destination.vertex.name;
  const { attempt } = context.operation;
  const fence = { jobId: plan.jobId, run: plan.number, attempt };
  log.line(vertex, "info", `run ${plan.number}, attempt ${attempt}: writing to "${destination.name}"`);
  const writer = await destinationOf(deps.connectors, destination.type)
    .open(destination.config, fence, connectorContext(context, log, vertex))
    .catch(rethrowAt(vertex));
  try {
    if (writer.committed !== null) {
      log.line(vertex, "info", "an earlier attempt has committed this run: nothing is left to do");
      return summarize(writer.committed);
    }
    if (context.operation.status === "cancelling") throw new Error("cancelled before its commit");
    const result = await context.step(
      "copy",
      () => copyStreams(deps.connectors, context, plan, writer, log),
      { repeat: true },
    );
    const commit = (): Promise<void> => writer.commit().catch(rethrowAt(vertex));
    await context.step(COMMIT, commit, { repeat: true, final: true });
    log.line(vertex, "info", `committed: ${result.rows} rows are in place`);
    return result;
  } finally {
    await writer.close();
  }
}
