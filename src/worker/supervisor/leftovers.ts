import type { Site } from "../handlers/deployment/deps.js";

/** No command of a deployment that has ended comes after this. */
const LAST = Number.MAX_SAFE_INTEGER;
/** Nothing is started there any more, so what it might have used says nothing. */
const NO_LIMITS = { memoryBytes: 0, storageBytes: 0 };

/**
 * Stops and removes what is left of deployments that are gone: of one that was cancelled in its making, of one whose
 * worker slept while it was terminated.
 * @param living which of these ids are of living deployments
 * @returns whose were removed
 */
export async function clearLeftovers(
  { substrate, region }: Site,
  living: (ids: readonly string[]) => Promise<ReadonlySet<string>>,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const ids = await substrate.list(signal);
  if (ids.length === 0) return [];
  const kept = await living(ids);
  const cleared = ids.filter((id) => !kept.has(id));
  for (const id of cleared) {
    const spec = { id, port: region.ports.from, limits: NO_LIMITS };
    const place = await substrate.open(spec, { command: LAST, attempt: LAST }, signal);
    await place.remove(signal);
  }
  return cleared;
}
