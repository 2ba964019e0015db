import type { Readable } from "node:stream";
import type { ImportPayload, RestorePayload, Target } from "../../../domain/deployments/operations.js";
import type { HandlerContext } from "../../handler.js";
import { archiveOf } from "./archives.js";
import { orPutRight, startAgain } from "./command.js";
import { counted } from "./counted.js";
import type { DeploymentDeps } from "./deps.js";
import { type Held, hold } from "./instance.js";

/** The step after which the new data may be in place. */
export const LOAD = "load";

/** Puts a stored copy in the place of the data. The old data serves until the new is complete. */
export async function restore(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: RestorePayload,
): Promise<void> {
  const archive = await archiveOf(deps, "snapshots", payload.snapshotId);
  await replace(deps, context, payload, archive, (held, bytes) =>
    held.engine.restore(held.instance, bytes, held.context),
  );
}

/** The same with an archive that somebody sent: nobody knows what is in it. */
export async function importArchive(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: ImportPayload,
): Promise<void> {
  await replace(deps, context, payload, payload.upload, (held, bytes) =>
    held.engine.import(held.instance, bytes, held.context),
  );
}

async function replace(
  deps: DeploymentDeps,
  context: HandlerContext,
  target: Target,
  archive: { readonly blobKey: string },
  load: (held: Held, bytes: Readable) => Promise<void>,
): Promise<void> {
  const held = await hold(deps, context, target);
  await orPutRight(
    context,
    () =>
      context.step(
        LOAD,
        async () => {
          context.progress({ percent: 5, message: "checking and loading the archive aside" });
          const { stream, bytes } = await deps.blobs.get(archive.blobKey);
          await load(held, counted(context, stream, bytes));
        },
        { recordFirst: true },
      ),
    async (signal) => startAgain(await hold(deps, context, target, {}, signal)),
  );
  context.progress({ percent: 95, message: "starting" });
  await context.step("start", () => held.engine.start(held.instance, held.context), { repeat: true });
}
