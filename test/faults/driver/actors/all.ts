import type { Actor } from "../site.js";
import { tick } from "../ticks.js";
import { cancel } from "./cancel.js";
import { follow } from "./follow.js";
import { check, checkLater, discover } from "./probe.js";
import { read, token } from "./read.js";
import { retry } from "./retry.js";
import { sync } from "./sync.js";
import { update } from "./update.js";

/** What clients do in a round. Another kind of operation is another actor. */
export const ACTORS: readonly Actor[] = [
  sync,
  cancel,
  retry,
  check,
  checkLater,
  discover,
  update,
  read,
  follow,
  token,
  tick,
];
