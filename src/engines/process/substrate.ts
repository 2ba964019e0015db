import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { MACHINE_FOLDER, machineFolder, makeFolder } from "../../platform/folders.js";
import { short } from "../../platform/processes.js";
import type { Fence, Place, PlaceSpec, PlaceView, Substrate } from "../substrate.js";
import { layoutOf } from "./layout.js";
import { ProcessPlace, type ProcessPlaceOptions, ProcessPlaceView, preparePlace } from "./place.js";
import { PREPARE } from "./scripts.js";
import { namesIn, readOrNull } from "./status.js";
import { changingUser } from "./tool.js";
import { freeUserRange, USERS_FOLDER, type UserRange } from "./users.js";

export interface ProcessSubstrateOptions {
  /** The region's folder, absolute. Its places are there, or under /var/lib/gatehouse where it is closed to their users. */
  readonly root: string;
  /** Where Gatehouse reaches the servers; default 127.0.0.1. */
  readonly host?: string;
  /** Addresses to which the servers bind; default `host` alone. */
  readonly listen?: readonly string[];
  /** User ids for places, where the worker is root; default: ids that nothing else uses. */
  readonly users?: UserRange;
}

const TOOLS = ["flock", "setpriv", "prlimit", "find", "sync", "du"];
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Database servers as processes of this machine: a folder each, and a user each where the worker is root. All workers
 * of the region share the folder; the servers outlive them. Linux only.
 */
export function createProcessSubstrate(options: ProcessSubstrateOptions): Substrate {
  const asRoot = process.getuid?.() === 0;
  const users = options.users ?? freeUserRange();
  const missing = whatIsMissing();
  const root = missing === null ? usableRoot(options.root, asRoot ? users.first : undefined) : null;
  const host = options.host ?? "127.0.0.1";

  const place = (spec: PlaceSpec): ProcessPlaceOptions => {
    if (root === null) throw new Error(missing ?? "the substrate does not work here");
    return {
      layout: layoutOf(root, spec.id),
      port: spec.port,
      host,
      listen: options.listen ?? [host],
      limits: spec.limits,
      asRoot,
    };
  };

  return {
    kind: "process",
    missing:
      missing ??
      (root === null
        ? `users of databases cannot enter ${options.root} nor ${MACHINE_FOLDER}: let others enter the folders above (chmod o+x)`
        : null),

    async open(spec: PlaceSpec, fence: Fence, signal: AbortSignal): Promise<Place> {
      signal.throwIfAborted();
      const at = place(spec);
      const uid = await preparePlace(at, fence, PREPARE, [
        at.layout.sockets,
        asRoot ? USERS_FOLDER : "",
        String(users.first),
        String(users.last),
      ]);
      return new ProcessPlace(at, fence, uid);
    },

    look(spec: PlaceSpec): PlaceView {
      return new ProcessPlaceView(place(spec));
    },

    async list(signal: AbortSignal): Promise<readonly string[]> {
      signal.throwIfAborted();
      return root === null ? [] : namesIn(join(root, "places"));
    },

    listening: listeningPorts,
  };
}

function whatIsMissing(): string | null {
  if (process.platform !== "linux") return "databases as processes of the worker's machine need Linux";
  const absent = TOOLS.filter((tool) => !PATH.split(":").some((folder) => existsSync(join(folder, tool))));
  if (absent.length === 0) return null;
  return `${absent.join(", ")} not found: install util-linux, coreutils and findutils`;
}

/** The folder where places can be, made ready; null where the users of places could not get there. */
function usableRoot(asked: string, uid: number | undefined): string | null {
  if (uid === undefined) {
    makeRoot(asked, 0o700);
    return asked;
  }
  const machine = machineFolder();
  makeFolder(USERS_FOLDER, 0o700);
  // Where nothing else is open, nobody's folders are opened up for this.
  for (const root of [asked, join(machine, short(asked))]) {
    makeRoot(root, 0o711);
    const [command = "", ...args] = [...changingUser({ uid, gid: uid }), "test", "-x", join(root, "places")];
    if (spawnSync(command, args, { cwd: "/", stdio: "ignore" }).status === 0) return root;
  }
  return null;
}

function makeRoot(root: string, mode: number): void {
  makeFolder(root, mode);
  makeFolder(join(root, "places"), mode);
  makeFolder(join(root, "control"), 0o700);
}

/** By proc_net_tcp(5): state 0A, on whichever address. */
async function listeningPorts(): Promise<ReadonlySet<number>> {
  const tables = await Promise.all(["tcp", "tcp6"].map((name) => readOrNull(`/proc/net/${name}`)));
  const sockets = tables.join("\n").matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm);
  return new Set([...sockets].map(([, port = ""]) => Number.parseInt(port, 16)));
}
