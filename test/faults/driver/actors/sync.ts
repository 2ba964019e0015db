import { JOBS_PATH } from "../jobs.js";
import type { Actor } from "../site.js";
import { startOnce } from "./start.js";

/** Starts runs. */
export const sync: Actor = {
  name: "sync",
  weight: 10,
  async act(site, random) {
    const job = random.pick(site.jobs);
    const path = `${JOBS_PATH}/${job.number}/sync`;
    await startOnce(site, random, { name: "sync", method: "POST", path, key: random.uuid() }, ({ status }) =>
      status === 409 ? "a run is active" : null,
    );
  },
};
