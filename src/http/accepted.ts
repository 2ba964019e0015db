import type { FastifyReply, FastifyRequest } from "fastify";
import type { OnAccept } from "../domain/jobs/sync.js";
import { isDone, type Operation } from "../operations/operation.js";
import { operationHref } from "./core-api/wire.js";
import { waitAsPreferred } from "./prefer.js";
import type { Services } from "./services.js";

/** Headers that tell where accepted work can be followed. */
export interface Pointers {
  readonly location: string;
  readonly "operation-location": string;
}

export function pointersTo(operation: Operation): Pointers {
  const href = operationHref(operation.id);
  return { location: href, "operation-location": href };
}

/** Says when a look at an operation is worth while, by how long its like took; nothing where it is done. */
export async function sayWhenToLook(
  services: Services,
  reply: FastifyReply,
  operation: Operation,
): Promise<void> {
  if (isDone(operation.status)) return;
  reply.header("retry-after", String(await services.durations.retryAfter(operation)));
}

/**
 * Starts work and says where to follow it, after as long a wait as the client prefers.
 * @param start starts it, and calls `onAccept` in the transaction that accepts it
 */
export async function acceptWork(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  start: (onAccept?: OnAccept) => Promise<Operation>,
): Promise<Operation> {
  const accepted = await start();
  const operation = await waitAsPreferred(services.waiters, request, reply, accepted);
  reply.headers(pointersTo(operation));
  await sayWhenToLook(services, reply, operation);
  return operation;
}
