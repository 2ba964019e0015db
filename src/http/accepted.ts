import type { FastifyReply } from "fastify";
import type { Operation } from "../operations/operation.js";
import { operationHref } from "./core-api/wire.js";

/** Seconds until a look at an operation is worth while. */
const POLL_AFTER_S = 1;

/** Tells where accepted work can be followed. */
export function pointToOperation(reply: FastifyReply, operation: Operation): void {
  const href = operationHref(operation.id);
  reply
    .header("location", href)
    .header("operation-location", href)
    .header("retry-after", String(POLL_AFTER_S));
}
