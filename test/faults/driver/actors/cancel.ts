import type { Actor } from "../site.js";

/** Cancels operations, most of them young. */
export const cancel: Actor = {
  name: "cancel",
  weight: 2,
  async act(site, random) {
    const id = site.journal.recent(random, random.int(1, 12));
    if (id === null) return;
    const key = random.uuid();
    const path = `/api/v1/operations/${id}/cancel`;
    const answer = await site.api.send({ name: "cancel", method: "POST", path, key }, random, 0.1);
    if (answer?.status === 202) {
      const told = (answer.body as { id: string }).id;
      if (told !== id) site.findings.add(`cancel of operation ${id} answered with operation ${told}`);
      site.outcomes.add("cancel accepted");
    } else if (answer?.status === 409) site.outcomes.add("cancel refused: it is done");
    else site.findings.add(`cancel of operation ${id}: ${answer?.status} ${JSON.stringify(answer?.body)}`);
  },
};
