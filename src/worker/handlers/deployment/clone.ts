import type { ClonePayload } from "../../../domain/deployments/operations.js";
import type { HandlerContext } from "../../handler.js";
import { counted } from "./counted.js";
import { firstStart } from "./create.js";
import type { DeploymentDeps } from "./deps.js";
import { hold } from "./instance.js";

/** Makes a second deployment from a consistent copy, while the first serves. */
export async function clone(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: ClonePayload,
): Promise<unknown> {
  const source = await hold(deps, context, payload);
  const copy = await hold(deps, context, payload.other);
  context.progress({ percent: 2, message: "making an empty database" });
  await context.step("provision", () => copy.engine.provision(copy.instance, copy.context));
  // Straight from one to the other: nothing is stored between.
  await context.step("copy", async () => {
    const bytes = await source.engine.snapshot(source.instance, source.context);
    await copy.engine.restore(copy.instance, counted(context, bytes), copy.context);
  });
  context.progress({ percent: 95, message: "starting the copy" });
  return context.step("start", () => firstStart(deps, context, payload.other, copy), { repeat: true });
}
