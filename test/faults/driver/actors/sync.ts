import { type Answer, replayed, type Wish } from "../client.js";
import { JOBS_PATH, type Job } from "../jobs.js";
import type { Actor, Site } from "../site.js";

/** Starts runs; sometimes the same request is sent twice at once, or again when it was answered. */
export const sync: Actor = {
  name: "sync",
  weight: 10,
  async act(site, random) {
    const job = random.pick(site.jobs);
    const key = random.uuid();
    const wish: Wish = { name: "sync", method: "POST", path: `${JOBS_PATH}/${job.number}/sync`, key };
    const impatient = 0.15;
    const sends = [site.api.send(wish, random, impatient)];
    if (random.chance(0.2)) sends.push(site.api.send(wish, random.fork(), impatient));
    let isAccepted = false;
    for (const answer of await Promise.all(sends)) if (note(site, job, key, answer)) isAccepted = true;
    if (!isAccepted || random.chance(0.7)) return;
    const again = await site.api.send(wish, random, impatient);
    note(site, job, key, again);
    if (again !== null && !replayed(again))
      site.findings.add(`key ${key} (sync): accepted, and not replayed when sent again: ${again.status}`);
  },
};

/** Whether a run was accepted. */
function note(site: Site, job: Job, key: string, answer: Answer | null): boolean {
  if (answer === null) {
    site.findings.add(`key ${key} (sync of job ${job.number}): never answered`);
    return false;
  }
  if (answer.status === 409) {
    site.outcomes.add("sync refused: a run is active");
    return false;
  }
  const id = operationOf(answer);
  if (answer.status !== 200 || id === null) {
    site.findings.add(`sync of job ${job.number}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return false;
  }
  site.outcomes.add("sync accepted");
  site.journal.accepted(key, id);
  return true;
}

/** The operation that an answer points to. */
export function operationOf({ headers }: Answer): string | null {
  const location = headers["operation-location"];
  return typeof location === "string" ? (location.split("/").at(-1) ?? null) : null;
}
