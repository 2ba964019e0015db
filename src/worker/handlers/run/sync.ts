import { type DestinationWriter, FencedError, InDoubtError } from "../../../connectors/connector.js";
import type { Connections } from "../../../domain/connections/connections.js";
import { LeaseLostError } from "../../../operations/ledger.js";
import type { ClaimedOperation } from "../../../operations/operation.js";
import type { PrismaClient } from "../../../platform/prisma.js";
import { type Connectors, destinationOf } from "../../connectors.js";
import {
  type HandlerContext,
  Interruption,
  OperationFailure,
  type OperationHandler,
  problem,
} from "../../handler.js";
import { StepLog } from "../../step-log.js";
import { connectorContext, copyStreams, rethrowAt, type SyncResult, summarize } from "./copy.js";
import { planRun, type RunPayload, type RunPlan } from "./plan.js";
import { recordEnd, recordStart, recordTotals } from "./record.js";

export interface SyncDeps {
  readonly prisma: PrismaClient;
  readonly connections: Connections;
  readonly connectors: Connectors;
}

/** The step that writes everything aside. */
const COPY = "copy";
/** The step that puts what was written aside into place. */
const COMMIT = "commit";
/** So often a run is tried whose stores went away in its midst: half a minute, by the pauses in between. */
const ATTEMPTS_AT_STORES = 7;
const UNREACHABLE = "urn:gatehouse:error:unreachable";

/** Executes a run of a BATCH job: everything is written aside, then swapped into place at once. */
export function syncHandler(deps: SyncDeps): OperationHandler {
  return {
    type: "sync",
    async run(context) {
      const payload = context.operation.payload as RunPayload;
      const plan = await planRun(deps.prisma, deps.connections, payload);
      const log = new StepLog(plan.runId, (work) => context.write(work), context.logger);
      // What an earlier attempt found there may be away for a moment now.
      const met = { stores: context.operation.attempt > 1, doubt: mayBeCommitted(context.operation) };
      try {
        await context.write((tx) => recordStart(tx, plan.runId));
        const result = await sync(deps, context, plan, log, met);
        await context.write((tx) => recordTotals(tx, plan.runId, result));
        return result;
      } catch (error) {
        if (error instanceof FencedError) throw new LeaseLostError();
        const failure = mayPass(error, context.operation, plan, met);
        if (!context.signal.aborted) log.line(culprit(failure, plan), "error", messageFor(failure));
        throw failure;
      } finally {
        await log.close();
      }
    },
    conclude: (context) => conclude(deps, context),
    settle: recordEnd,
  };
}

/** An attempt has begun to commit: whether it came to that is known to the destination alone. */
function mayBeCommitted({ steps }: ClaimedOperation): boolean {
  return steps.some(({ name }) => name === COMMIT);
}

/** What an attempt knows when it fails. */
interface Met {
  /** The stores were there. */
  stores: boolean;
  /** An earlier attempt may have committed, and the destination was not asked yet. */
  doubt: boolean;
}

/** Makes an interruption of what is worth another try: an unknown outcome, and stores that were there and went away. */
function mayPass(error: unknown, { maxAttempts }: ClaimedOperation, plan: RunPlan, met: Met): unknown {
  if (!met.stores) return error;
  if (error instanceof InDoubtError || (met.doubt && error instanceof OperationFailure)) {
    const why = met.doubt ? `an earlier attempt may have committed: ${error.message}` : error.message;
    const at = { vertex: plan.destination.vertex.name };
    // Past the last attempt it is concluded: asked on, and not copied again.
    return new Interruption(problem("in-doubt", "Outcome unknown", 502, why, at), maxAttempts + 1, error);
  }
  const isAway = error instanceof OperationFailure && error.problem.type === UNREACHABLE;
  return isAway ? new Interruption(error.problem, ATTEMPTS_AT_STORES, error) : error;
}

/**
 * Takes the destination like any attempt, so that an older one can change nothing more and what it wrote aside goes,
 * and sees whether the run was committed there.
 */
async function conclude(
  { prisma, connections, connectors }: SyncDeps,
  context: HandlerContext,
): Promise<{ readonly result: SyncResult } | null> {
  const { operation, logger } = context;
  // No attempt came as far as the destination.
  if (operation.steps.length === 0) return null;
  const plan = await planRun(prisma, connections, operation.payload as RunPayload);
  const log = new StepLog(plan.runId, (work) => context.write(work), context.logger);
  try {
    const writer = await openDestination(connectors, context, plan, log);
    const { committed } = writer;
    await writer.close();
    if (committed === null) return null;
    log.line(plan.destination.vertex.name, "info", "an earlier attempt has committed this run");
    const result = summarize(committed);
    await context.write((tx) => recordTotals(tx, plan.runId, result));
    return { result };
  } catch (error) {
    if (error instanceof FencedError) throw new LeaseLostError();
    if (mayBeCommitted(operation)) throw error;
    logger.warn({ err: error }, "what earlier attempts wrote aside could not be removed; the next run will");
    return null;
  } finally {
    await log.close();
  }
}

function openDestination(
  connectors: Connectors,
  context: HandlerContext,
  { jobId, number, destination }: RunPlan,
  log: StepLog,
): Promise<DestinationWriter> {
  const { name } = destination.vertex;
  const fence = { jobId, run: number, attempt: context.operation.attempt };
  return destinationOf(connectors, destination.type)
    .open(destination.config, fence, connectorContext(context, log, name))
    .catch(rethrowAt(name));
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
  met: Met,
): Promise<SyncResult> {
  const { destination } = plan;
  const vertex = destination.vertex.name;
  const { attempt } = context.operation;
  log.line(vertex, "info", `run ${plan.number}, attempt ${attempt}: writing to "${destination.name}"`);
  const writer = await openDestination(deps.connectors, context, plan, log);
  met.doubt = false;
  try {
    if (writer.committed !== null) {
      log.line(vertex, "info", "an earlier attempt has committed this run: nothing is left to do");
      return summarize(writer.committed);
    }
    const opened = (): void => {
      met.stores = true;
    };
    const copy = (): Promise<SyncResult> => copyStreams(deps.connectors, context, plan, writer, log, opened);
    const result = await context.step(COPY, copy, { repeat: true, recordFirst: true });
    const commit = (): Promise<void> => writer.commit().catch(rethrowAt(vertex));
    await context.step(COMMIT, commit, { repeat: true, final: true });
    log.line(vertex, "info", `committed: ${result.rows} rows are in place`);
    return result;
  } finally {
    await writer.close();
  }
}
