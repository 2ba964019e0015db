import type { RecoverPayload } from "../../../domain/deployments/operations.js";
import { holdFor, recordHold } from "../../../domain/deployments/storage.js";
import { isTooLarge } from "../../../engines/substrate.js";
import type { HandlerContext } from "../../handler.js";
import type { DeploymentDeps } from "./deps.js";
import { type Held, hold } from "./instance.js";

/** Brings a server to where it should be: one that does not answer is stopped and started. */
export async function recover(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: RecoverPayload,
): Promise<void> {
  const held = await hold(deps, context, payload);
  const { engine, instance, context: at, record } = held;
  if (record.desiredState !== "running") {
    await context.step("stop", () => engine.stop(instance, at), { repeat: true });
    return;
  }
  const why = await faultOf(held);
  if (why !== null) {
    context.progress({ percent: 10, message: `stopping a server that ${why}` });
    await context.step("stop", () => engine.stop(instance, at));
  }
  context.progress({ percent: 50, message: "starting" });
  await context.step("start", () => engine.start(instance, at), { repeat: true });
  await context.step("storage", () => limitStorage(held, context), { repeat: true });
}

/** Past its storage limit a server may only be read, or nothing at all; below it, everything again. */
async function limitStorage(
  { engine, instance, context: at, record }: Held,
  context: HandlerContext,
): Promise<void> {
  const { storageBytes } = await engine.inspect(instance, at.signal);
  const hold = holdFor(storageBytes, instance.place.limits.storageBytes, record.storageHold);
  await engine.holdStorage(instance, hold, at);
  await context.write((tx) => recordHold(tx, record.id, hold, storageBytes));
}

/** Why a server that runs has to be stopped first; null where it has not. */
async function faultOf({ engine, instance, context }: Held): Promise<string | null> {
  if (await isTooLarge(instance.place)) return "takes too much memory";
  const { status } = await engine.health(instance, context.signal);
  return status === "failed" ? "does not answer" : null;
}
