import {
  type DeploymentOperation,
  operationOf,
  type Payloads,
} from "../../../domain/deployments/operations.js";
import { endCommand } from "../../../domain/deployments/settle.js";
import type { Command } from "../../../domain/deployments/state.js";
import { FencedError } from "../../../engines/substrate.js";
import { LeaseLostError } from "../../../operations/ledger.js";
import type { ClaimedOperation } from "../../../operations/operation.js";
import { isDatabaseAway } from "../../../platform/sql.js";
import { type HandlerContext, Interruption, OperationFailure, type OperationHandler } from "../../handler.js";
import type { DeploymentDeps } from "./deps.js";
import { toFailure } from "./failures.js";
import type { Held } from "./instance.js";

/** Does one command. What it answers becomes the operation's result. */
export type Work<C extends Command> = (
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: Payloads[C],
) => Promise<unknown>;

/**
 * The handler of a command: its work, with failures of engines as the operation's, and its end for the deployments.
 * @param finalStep the step from which on it goes on to its end, whoever wants it cancelled: one that has begun it may
 * have had its effect; a step with `recordFirst`
 */
export function commandHandler<C extends Command>(
  deps: DeploymentDeps,
  command: C,
  work: Work<C>,
  finalStep?: string,
): OperationHandler {
  const type: DeploymentOperation = operationOf(command);
  const hasBegun = ({ steps }: ClaimedOperation): boolean => steps.some(({ name }) => name === finalStep);
  const run = async (context: HandlerContext): Promise<unknown> => {
    try {
      return await work(deps, translating(context), context.operation.payload as Payloads[C]);
    } catch (error) {
      const failure = toFailure(error);
      // Its next try is the supervisor's, after a pause that grows.
      if (command === "recover" && failure instanceof Interruption) {
        throw new OperationFailure(failure.problem, failure.cause);
      }
      throw failure;
    }
  };
  return {
    type,
    run,
    async conclude(context) {
      if (!hasBegun(context.operation)) return null;
      // What came of it is known when it was done again: to its end, or to the reason why it cannot be.
      return run(context).then(
        (result) => ({ result }),
        (error: unknown) => {
          if (error instanceof OperationFailure) return null;
          throw error;
        },
      );
    },
    settle: (tx, operation, outcome) => endCommand(tx, deps, operation, outcome),
  };
}

/** The same attempt, whose steps tell clients what the engine said. */
function translating(context: HandlerContext): HandlerContext {
  const { operation, signal, logger } = context;
  return {
    ...{ operation, signal, logger },
    progress: (progress) => context.progress(progress),
    write: (work) => context.write(work),
    step: (name, work, options) =>
      context.step(
        name,
        () =>
          work().catch((error: unknown) => {
            throw toFailure(error);
          }),
        options,
      ),
  };
}

/** How long putting something right may take after an attempt was told to stop. */
const MEND_LIMIT_MS = 120_000;

/**
 * Does the work; where it fails, or is cancelled, brings back what was before. Not where another attempt has taken
 * over or will: that one goes on from here.
 */
export async function orPutRight<T>(
  context: HandlerContext,
  work: () => Promise<T>,
  putRight: (signal: AbortSignal) => Promise<unknown>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { signal } = context;
    const ends = !signal.aborted || signal.reason === "cancelled" || signal.reason === "timeout";
    if (ends && !isTakenOver(error) && !isDatabaseAway(error)) {
      // What cannot be put right now is found by the region's supervisor.
      await putRight(AbortSignal.timeout(MEND_LIMIT_MS)).catch((failure: unknown) =>
        context.logger.warn({ err: failure }, "a server could not be put right after its command had failed"),
      );
    }
    throw error;
  }
}

function isTakenOver(error: unknown): boolean {
  return error instanceof FencedError || error instanceof LeaseLostError;
}

/** Starts, or adopts, the server of a deployment that should run; leaves one that should rest as it is. */
export async function startAgain({ engine, instance, context, record }: Held): Promise<void> {
  if (record.desiredState === "running") await engine.start(instance, context);
}
