import type { Operation } from "../../operations/operation.js";
import { viewOperation } from "../../operations/view.js";

/** An event as it is stored. */
export interface StoredEvent {
  readonly id: string;
  readonly type: string;
  readonly organizationId: string;
  readonly projectId: string | null;
  readonly operationId: string | null;
  readonly data: unknown;
  readonly occurredAt: Date;
}

/** What receivers get, as JSON. */
export interface WebhookMessage {
  /** The same with every try, and in the header `webhook-id`. */
  readonly id: string;
  /** Such as `operation.failed`. */
  readonly type: string;
  /** When it happened, ISO 8601. */
  readonly timestamp: string;
  readonly organizationId: string;
  readonly projectId: string | null;
  /** The operation as it was then, as the core API shows it; of a ping, the webhook's id. */
  readonly data: object;
  /**
   * Present where the operation was too large to be sent whole: without its result and steps, and if need be without its
   * error and the message of its progress. The core API has them.
   */
  readonly truncated?: true;
}

/** An operation's row, as the outbox took it down. */
type Snapshot = {
  readonly [Name in keyof Operation]: Date extends Operation[Name]
    ? string | Exclude<Operation[Name], Date>
    : Operation[Name];
} & { readonly truncated?: true };

/** The same for every try: what it is made of is stored. */
export function toMessage(event: StoredEvent): WebhookMessage {
  const { id, type, organizationId, projectId, operationId, occurredAt } = event;
  const message = { id, type, timestamp: occurredAt.toISOString(), organizationId, projectId };
  if (operationId === null) return { ...message, data: event.data as object };
  const { truncated, ...snapshot } = event.data as Snapshot;
  const operation: Operation = {
    ...snapshot,
    createdAt: new Date(snapshot.createdAt),
    startedAt: dateOf(snapshot.startedAt),
    finishedAt: dateOf(snapshot.finishedAt),
  };
  const data = viewOperation(operation, occurredAt.getTime());
  return truncated === true ? { ...message, data, truncated } : { ...message, data };
}

function dateOf(text: string | null): Date | null {
  return text === null ? null : new Date(text);
}
