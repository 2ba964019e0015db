import type { ResizePayload, RotatePayload } from "../../../domain/deployments/operations.js";
import { openPassword } from "../../../domain/deployments/secrets.js";
import type { HandlerContext } from "../../handler.js";
import { orPutRight, startAgain } from "./command.js";
import type { DeploymentDeps } from "./deps.js";
import { impossible } from "./failures.js";
import { hold } from "./instance.js";

/** Makes another password the only one that opens the database. It is written down in the end, by `endCommand`. */
export async function rotatePassword(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: RotatePayload,
): Promise<void> {
  const password = openPassword(deps.masterKey, context.operation);
  const { engine, instance, context: at } = await hold(deps, context, payload, { password });
  await orPutRight(
    context,
    () => context.step("change password", () => engine.changeCredentials(instance, at), { repeat: true }),
    async (signal) => {
      const former = await hold(deps, context, payload, {}, signal);
      await former.engine.changeCredentials(former.instance, former.context);
    },
  );
}

/** Gives the server the limits of another plan; one that needs it is started again. */
export async function resize(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: ResizePayload,
): Promise<{ readonly plan: string; readonly restarted: boolean }> {
  const plan = deps.planOf(payload.plan);
  if (plan === null) {
    throw impossible("unknown-plan", "Plan is unknown", `the plan ${payload.plan} is no longer configured`);
  }
  const held = await hold(deps, context, payload, { plan });
  const { engine, instance, context: at } = held;
  return orPutRight(
    context,
    async () => {
      context.progress({ percent: 10, message: "changing the limits" });
      const { needsRestart } = await context.step("resize", () => engine.resize(instance, at), {
        repeat: true,
      });
      const restarted = needsRestart && payload.before === "running";
      if (restarted) {
        context.progress({ percent: 40, message: "starting again" });
        await context.step("stop", () => engine.stop(instance, at), { repeat: true });
        await context.step("start", () => engine.start(instance, at), { repeat: true });
      }
      return { plan: plan.id, restarted };
    },
    async (signal) => {
      const former = await hold(deps, context, payload, {}, signal);
      await former.engine.resize(former.instance, former.context);
      await startAgain(former);
    },
  );
}
