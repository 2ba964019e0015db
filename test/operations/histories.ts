import fc from "fast-check";

/** A property that has failed is not tried again: other histories would be made up, and what was found be lost. */
export const ONCE = { retry: 0, timeout: 240_000 } as const;

/**
 * Asserts what holds of any history; a failure says how to have the same one again. On a machine that is busy fewer are
 * tried, but never so few that they say nothing.
 */
export async function assertHistories<T>(
  property: fc.IAsyncProperty<T>,
  bounds: fc.Parameters<T> & { readonly numRuns: number },
): Promise<void> {
  const details = await fc.check(property, { interruptAfterTimeLimit: 120_000, ...bounds });
  if (details.failed)
    throw new Error(await fc.asyncDefaultReportMessage(details), { cause: details.errorInstance });
  if (details.numRuns < bounds.numRuns / 4)
    throw new Error(
      `only ${details.numRuns} of ${bounds.numRuns} histories were tried: too few to say anything`,
    );
}
