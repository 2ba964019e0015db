import type { OperationHandler } from "../../handler.js";
import { exportArchive, snapshot } from "./archives.js";
import { clone } from "./clone.js";
import { commandHandler } from "./command.js";
import { create } from "./create.js";
import type { DeploymentDeps } from "./deps.js";
import { exchange } from "./exchange.js";
import { importArchive, LOAD, restore } from "./load.js";
import { pause, restart, resume } from "./power.js";
import { recover } from "./recover.js";
import { resize, rotatePassword } from "./settings.js";
import { terminate } from "./terminate.js";

/** A handler for each command on deployments. */
export function deploymentHandlers(deps: DeploymentDeps): OperationHandler[] {
  return [
    commandHandler(deps, "create", create),
    commandHandler(deps, "pause", pause),
    commandHandler(deps, "resume", resume),
    commandHandler(deps, "restart", restart),
    commandHandler(deps, "clone", clone),
    commandHandler(deps, "snapshot", snapshot),
    commandHandler(deps, "restore", restore, LOAD),
    commandHandler(deps, "import", importArchive, LOAD),
    commandHandler(deps, "export", exportArchive),
    commandHandler(deps, "connection-url", exchange),
    commandHandler(deps, "rotate-password", rotatePassword),
    commandHandler(deps, "resize", resize),
    commandHandler(deps, "terminate", terminate),
    commandHandler(deps, "recover", recover),
  ];
}
