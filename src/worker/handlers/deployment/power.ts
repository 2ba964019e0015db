import { forgetFailures } from "../../../domain/deployments/health.js";
import type { PausePayload, RestartPayload, ResumePayload } from "../../../domain/deployments/operations.js";
import type { HandlerContext } from "../../handler.js";
import { orPutRight, startAgain } from "./command.js";
import type { DeploymentDeps } from "./deps.js";
import { hold } from "./instance.js";

/** Saves, stops the server and keeps the data. */
export async function pause(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: PausePayload,
): Promise<void> {
  const { engine, instance, context: at } = await hold(deps, context, payload);
  context.progress({ percent: 10, message: "saving and stopping" });
  await orPutRight(
    context,
    () => context.step("stop", () => engine.stop(instance, at), { repeat: true }),
    async (signal) => startAgain(await hold(deps, context, payload, {}, signal)),
  );
}

/** Starts the server on the same address with the same data. */
export async function resume(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: ResumePayload,
): Promise<void> {
  const { engine, instance, context: at } = await hold(deps, context, payload);
  context.progress({ percent: 10, message: "starting" });
  await orPutRight(
    context,
    () => context.step("start", () => engine.start(instance, at), { repeat: true }),
    async (signal) => {
      const again = await hold(deps, context, payload, {}, signal);
      await again.engine.stop(again.instance, again.context);
    },
  );
}

/** Both, one after the other. */
export async function restart(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: RestartPayload,
): Promise<void> {
  const held = await hold(deps, context, payload);
  if (payload.reset) await context.write((tx) => forgetFailures(tx, payload.deploymentId));
  context.progress({ percent: 10, message: "saving and stopping" });
  // Once: an attempt after a death must not stop the server that the one before has started.
  await context.step("stop", () => held.engine.stop(held.instance, held.context));
  context.progress({ percent: 50, message: "starting" });
  await context.step("start", () => held.engine.start(held.instance, held.context), { repeat: true });
}
