import type { ArchiveResult, TerminatePayload } from "../../../domain/deployments/operations.js";
import { recordRemoval } from "../../../domain/deployments/settle.js";
import type { HandlerContext } from "../../handler.js";
import { storeSnapshot } from "./archives.js";
import type { DeploymentDeps } from "./deps.js";
import { hold } from "./instance.js";

/** Stops the server and removes the data, after a last snapshot. */
export async function terminate(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: TerminatePayload,
): Promise<ArchiveResult | null> {
  const held = await hold(deps, context, payload);
  const { snapshotId } = payload;
  const last = snapshotId === null ? null : await storeSnapshot(deps, context, held, snapshotId);
  context.progress({ percent: 90, message: "removing" });
  await context.step("give up", () => context.write((tx) => recordRemoval(tx, payload.deploymentId)));
  await context.step("remove", () => held.engine.destroy(held.instance, held.context), { repeat: true });
  return last;
}
