import type { Actor } from "../site.js";
import { operationOf } from "./start.js";

/** Does again what has failed or was cancelled. */
export const retry: Actor = {
  name: "retry",
  weight: 2,
  async act(site, random) {
    const status = random.pick(["failed", "cancelled"]);
    const list = `/api/v1/operations?operationType=sync&limit=10&status=${status}`;
    const found = await site.api.send({ name: "list operations", method: "GET", path: list }, random);
    const { items } = (found?.body ?? {}) as { items?: { id: string }[] };
    if (items === undefined) site.findings.add(`list: ${found?.status} ${JSON.stringify(found?.body)}`);
    if (items === undefined || items.length === 0) return;
    const { id } = random.pick(items);
    const key = random.uuid();
    const path = `/api/v1/operations/${id}/retry`;
    const answer = await site.api.send({ name: "retry", method: "POST", path, key }, random, 0.1);
    const next = answer === null ? null : operationOf(answer);
    if (answer?.status === 202 && next !== null) {
      site.journal.accepted("retry", key, next);
      site.outcomes.add("retry accepted");
    } else if (answer?.status === 409) site.outcomes.add("retry refused");
    else site.findings.add(`retry of operation ${id}: ${answer?.status} ${JSON.stringify(answer?.body)}`);
  },
};
