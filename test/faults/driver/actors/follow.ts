import { setTimeout as delay } from "node:timers/promises";
import type { ServerEvent } from "../client.js";
import type { Actor } from "../site.js";

/** How long a client follows one operation, at most. */
const LONGEST_MS = 20_000;

/**
 * Follows an operation by server-sent events, and comes back with `Last-Event-ID` wherever the stream breaks: what it hears is
 * never older than what it has heard, and who has heard the end is told that there is nothing more.
 */
export const follow: Actor = {
  name: "follow",
  weight: 3,
  async act(site, random) {
    const id = site.journal.recent(random, 20);
    if (id === null) return;
    const path = `/api/v1/operations/${id}/events`;
    const until = performance.now() + random.int(2_000, LONGEST_MS);
    let seen: string | null = null;
    let done = false;
    const hear = (event: ServerEvent): void => {
      const now = event.data as { id: string; done: boolean };
      const isOlder = seen !== null && Number(event.id) <= Number(seen);
      // What is done stays so; that it was done again still comes to light.
      if (isOlder || (done && !now.done) || now.id !== id)
        site.findings.add(`operation ${id}: event ${event.id} (of ${now.id}) after ${seen}, done: ${done}`);
      seen = event.id;
      done = now.done;
    };
    for (;;) {
      const patienceMs = Math.max(1, until - performance.now());
      const status = await site.api.listen({ path, lastEventId: seen, patienceMs }, random, hear);
      if (status === 204) {
        site.outcomes.add("followed to its end");
        if (!done)
          site.findings.add(`operation ${id}: nothing more is to come after ${seen}, but no end came`);
        return;
      }
      if (status !== null && status !== 200) {
        site.findings.add(`operation ${id}: its events answered ${status}`);
        return;
      }
      if (performance.now() > until) return;
      await delay(random.int(20, 500));
    }
  },
};
