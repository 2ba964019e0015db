import type { FastifyReply, FastifyRequest } from "fastify";
import type { OnAccept } from "../domain/jobs/sync.js";
import type { KeptAnswer } from "../operations/idempotency.js";
import type { Keeping } from "../operations/ledger.js";
import { isDone, type Operation } from "../operations/operation.js";
import type { Sql } from "../platform/sql.js";
import { operationHref } from "./core-api/wire.js";
import type { KeyHold } from "./idempotency.js";
import { waitAsPreferred } from "./prefer.js";
import type { Services } from "./services.js";

/** Headers that tell where accepted work can be followed. */
export function pointersTo(operation: Operation): Record<string, string> {
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

/** What a route answers, once work was accepted. */
export interface AcceptedAnswer {
  readonly status: 200 | 202;
  readonly body: object;
}

/**
 * Starts work and says where to follow it, after as long a wait as the client prefers. The route declares
 * `config: { idempotency: "transaction" }`.
 * @param answer what the route answers at once; kept for whoever sends the request again under its Idempotency-Key
 * @param start starts it, and keeps the answer with it: calls `onAccept` in the transaction that accepts it, or hands
 * `keeping` to `Ledger.accept`
 */
export async function acceptWork(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: (operation: Operation) => AcceptedAnswer,
  start: (onAccept?: OnAccept, keeping?: Keeping) => Promise<Operation>,
): Promise<Operation> {
  const hold = request.idempotency?.inTransaction === true ? request.idempotency : null;
  const begin = async (): Promise<Operation> => start(...keepers(services, hold, answer));
  const accepted = await begin().catch(async (error: unknown) => {
    throw hold === null ? error : await hold.explain(error);
  });
  request.operationId = accepted.id;
  const operation = await waitAsPreferred(services, request, reply, accepted);
  reply.headers(pointersTo(operation));
  await sayWhenToLook(services, reply, operation);
  return operation;
}

/** How the answer is kept under the request's key: in a transaction, or by `Ledger.accept`. None where it has no key. */
function keepers(
  services: Services,
  hold: KeyHold | null,
  answer: (operation: Operation) => AcceptedAnswer,
): [onAccept?: OnAccept, keeping?: Keeping] {
  if (hold === null) return [];
  return [
    async (tx, operation) => hold.keep(tx, await keptAnswer(services, operation, answer, tx)),
    async (operation) => {
      const kept = await keptAnswer(services, operation, answer);
      return () => hold.taking(kept);
    },
  ];
}

async function keptAnswer(
  services: Services,
  operation: Operation,
  answer: (operation: Operation) => AcceptedAnswer,
  tx?: Sql,
): Promise<KeptAnswer> {
  const { status, body } = answer(operation);
  const headers = {
    ...pointersTo(operation),
    "retry-after": String(await services.durations.retryAfter(operation, tx)),
    "content-type": "application/json; charset=utf-8",
  };
  return { status, headers, body: JSON.stringify(body) };
}
