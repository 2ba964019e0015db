import type { Actor } from "../site.js";

/** Reads operations, waiting for their end or not. */
export const read: Actor = {
  name: "read",
  weight: 6,
  async act(site, random) {
    const id = site.journal.recent(random, 20);
    if (id === null) return;
    const headers = random.chance(0.5) ? { prefer: `wait=${random.int(1, 5)}` } : {};
    const path = `/api/v1/operations/${id}`;
    const answer = await site.api.send({ name: "read operation", method: "GET", path, headers }, random);
    if (answer?.status !== 200)
      site.findings.add(`operation ${id}: ${answer?.status} ${JSON.stringify(answer?.body)}`);
  },
};

/** Fetches a new token. */
export const token: Actor = {
  name: "token",
  weight: 1,
  act: (site, random) => site.api.renewToken(random),
};
