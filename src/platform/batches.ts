/**
 * Works through something batch by batch, until one was not full, or `signal` tells it to stop: what is left then is
 * for the next time. Says how much was done.
 * @param work does one batch of at most `size`; says how much that was
 */
export async function inBatches(
  size: number,
  signal: AbortSignal | undefined,
  work: () => Promise<number>,
): Promise<number> {
  let done = 0;
  let batch = size;
  while (batch === size && signal?.aborted !== true) {
    batch = await work();
    done += batch;
  }
  return done;
}
