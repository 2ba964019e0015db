import { JOBS_PATH } from "../jobs.js";
import type { Actor } from "../site.js";

/** Writes a job anew, as it was: a new version each time, also while it runs and is started. */
export const update: Actor = {
  name: "update",
  weight: 2,
  async act(site, random) {
    const { number, body } = random.pick(site.jobs);
    const path = `${JOBS_PATH}/${number}`;
    const wish = { name: "update job", method: "PUT", path, body, key: random.uuid() } as const;
    const answer = await site.api.send(wish, random, 0.05);
    if (answer?.status === 200) site.outcomes.add("job updated");
    else site.findings.add(`update of job ${number}: ${answer?.status} ${JSON.stringify(answer?.body)}`);
  },
};
