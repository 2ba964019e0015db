import { join } from "node:path";
import { short } from "../../platform/processes.js";

/** Where the process substrate keeps what of one place. */
export interface Layout {
  readonly root: string;
  readonly id: string;
  /** Lock, fence, process id: the worker's own, closed to the server. Lock and fence outlive the place. */
  readonly control: string;
  /** Everything else; can be entered by the place's user. */
  readonly folder: string;
  /** The place's user's own. */
  readonly volume: string;
  readonly temp: string;
  readonly log: string;
  readonly sockets: string;
}

/** Names of Unix sockets have 107 bytes at most (unix(7)); servers append up to 24. */
const LONGEST_SOCKET_FOLDER = 80;

export function layoutOf(root: string, id: string): Layout {
  if (!/^[0-9a-f-]{32,36}$/.test(id)) throw new Error(`no id of a deployment: ${id}`);
  const folder = join(root, "places", id);
  const inside = join(folder, "run");
  return {
    root,
    id,
    control: join(root, "control", id),
    folder,
    volume: join(folder, "volume"),
    temp: join(folder, "tmp"),
    log: join(folder, "server.log"),
    sockets:
      Buffer.byteLength(inside) <= LONGEST_SOCKET_FOLDER
        ? inside
        : join("/tmp", `gatehouse-${short(`${root} ${id}`)}`),
  };
}
