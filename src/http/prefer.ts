import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { Ledger } from "../operations/ledger.js";
import { isDone, type Operation } from "../operations/operation.js";
import type { Waiters } from "../operations/waiters.js";
import { type Preference, parsePreferences } from "./preferences.js";

/** Longer waits are cut to this: proxies between do not wait for ever. */
export const MAX_WAIT_S = 60;

/** For the document. */
export const PreferHeader = Type.Object({
  prefer: Type.Optional(
    Type.String({
      description: "`wait=N`: answer when the operation is done, or after N seconds (at most 60).",
      examples: ["wait=30"],
    }),
  ),
});

/** Whether the client prefers not to be kept waiting for the work (RFC 7240 section 4.1). */
export function prefersAsync(request: Pick<FastifyRequest, "headers">): boolean {
  return preferenceOf(request, "respond-async")?.value === "";
}

/** Seconds of `Prefer: wait=N` (RFC 7240 section 4.3), at most 60; null: none asked, or none that can be read. */
export function waitAskedFor(request: FastifyRequest): number | null {
  const value = preferenceOf(request, "wait")?.value ?? "";
  return /^\d+$/.test(value) ? Math.min(MAX_WAIT_S, Number(value)) : null;
}

/** Of several of one name the first counts (section 2). */
function preferenceOf(
  { headers: { prefer } }: Pick<FastifyRequest, "headers">,
  name: string,
): Preference | undefined {
  // Most requests have none.
  if (prefer === undefined) return undefined;
  return parsePreferences(String(prefer)).find((preference) => preference.name === name);
}

/**
 * The operation when it is done, or as it is when the time that the client prefers to wait has passed. Where it
 * prefers none, or too many wait already, at once: a preference is no demand, and `Preference-Applied` says that it
 * was heeded. A client that goes away waits no longer.
 */
export async function waitAsPreferred(
  { waiters, ledger }: { readonly waiters: Waiters; readonly ledger: Ledger },
  request: FastifyRequest,
  reply: FastifyReply,
  operation: Operation,
): Promise<Operation> {
  const seconds = waitAskedFor(request);
  if (seconds === null || waiters.isFullFor(operation.organizationId)) return operation;
  reply.header("preference-applied", `wait=${seconds}`);
  if (isDone(operation.status) || seconds === 0) return operation;
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  // Perhaps it has gone before, while the operation was accepted.
  if (reply.raw.closed || request.raw.socket.destroyed) gone.abort();
  else reply.raw.once("close", onClose);
  try {
    const ended = await waiters.waitFor(operation, seconds * 1_000, gone.signal);
    if (ended !== null || gone.signal.aborted) return ended ?? operation;
    return await presentState(ledger, operation);
  } finally {
    reply.raw.off("close", onClose);
  }
}

/** As it is now; as it was, where that cannot be read: a request that was accepted is not answered with a fault. */
async function presentState(ledger: Ledger, operation: Operation): Promise<Operation> {
  const { id, organizationId } = operation;
  return (await ledger.read(id, { organizationId, projects: null }).catch(() => null)) ?? operation;
}
