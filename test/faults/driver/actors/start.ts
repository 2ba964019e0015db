import { type Answer, replayed, type Wish } from "../client.js";
import type { Random } from "../random.js";
import type { Site } from "../site.js";

/** Of what starts operations: so often patience ends before the answer. */
const IMPATIENT = 0.15;

/**
 * Starts an operation under a key of its own; sometimes the same request is sent twice at once, or again when it was
 * answered. An operation that a client is told of is written down.
 * @param refused what an answer is that refuses by right; null: it is none
 */
export async function startOnce(
  site: Site,
  random: Random,
  wish: Wish & { readonly key: string },
  refused: (answer: Answer) => string | null,
): Promise<void> {
  const note = (answer: Answer | null): boolean => {
    const why = answer === null ? null : refused(answer);
    const id = answer === null ? null : operationOf(answer);
    if (answer !== null && answer.status < 300 && id !== null) {
      site.outcomes.add(`${wish.name} accepted`);
      site.journal.accepted(wish.name, wish.key, id);
      return true;
    }
    if (why !== null) site.outcomes.add(`${wish.name} refused: ${why}`);
    else
      site.findings.add(
        `key ${wish.key} (${wish.name}): ${answer?.status ?? "never answered"} ${JSON.stringify(answer?.body)}`,
      );
    return false;
  };
  const sends = [site.api.send(wish, random, IMPATIENT)];
  if (random.chance(0.2)) sends.push(site.api.send(wish, random.fork(), IMPATIENT));
  let isAccepted = false;
  for (const answer of await Promise.all(sends)) if (note(answer)) isAccepted = true;
  if (!isAccepted || random.chance(0.7)) return;
  const again = await site.api.send(wish, random, IMPATIENT);
  note(again);
  if (again !== null && !replayed(again))
    site.findings.add(
      `key ${wish.key} (${wish.name}): accepted, and not replayed when sent again: ${again.status}`,
    );
}

/** The operation that an answer points to. */
export function operationOf({ headers }: Answer): string | null {
  const location = headers["operation-location"];
  return typeof location === "string" ? (location.split("/").at(-1) ?? null) : null;
}
