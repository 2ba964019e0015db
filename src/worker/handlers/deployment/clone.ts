import type { Readable } from "node:stream";
import type { ClonePayload } from "../../../domain/deployments/operations.js";
import { type HandlerContext, Onward } from "../../handler.js";
import { storeArchive } from "./archives.js";
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
  const { region, upload } = payload;
  const source = async () => hold(deps, context, payload);
  if (region === undefined || upload === undefined) {
    // Straight from one to the other: nothing is stored between.
    return copyInto(deps, context, payload, async () => {
      const { engine, instance, context: at } = await source();
      return counted(context, await engine.snapshot(instance, at));
    });
  }
  await context.step("store", async () => {
    context.progress({ percent: 2, message: "copying" });
    const { engine, instance, context: at } = await source();
    return storeArchive(deps, context, upload.blobKey, await engine.snapshot(instance, at), instance);
  });
  if (context.operation.region !== region) throw new Onward(region);
  return copyInto(deps, context, payload, async () => {
    const { stream, bytes } = await deps.blobs.get(upload.blobKey);
    return counted(context, stream, bytes);
  });
}

async function copyInto(
  deps: DeploymentDeps,
  context: HandlerContext,
  { other }: ClonePayload,
  read: () => Promise<Readable>,
): Promise<unknown> {
  const copy = await hold(deps, context, other);
  context.progress({ percent: 2, message: "making an empty database" });
  await context.step("provision", () => copy.engine.provision(copy.instance, copy.context));
  await context.step("copy", async () => copy.engine.restore(copy.instance, await read(), copy.context));
  context.progress({ percent: 95, message: "starting the copy" });
  return context.step("start", () => firstStart(deps, context, other, copy), { repeat: true });
}
