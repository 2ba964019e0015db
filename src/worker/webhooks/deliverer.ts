import { toMessage } from "../../domain/webhooks/message.js";
import type { ClaimedDelivery, Outbox, OwingWebhook } from "../../domain/webhooks/outbox.js";
import { openWebhookSecret } from "../../domain/webhooks/secrets.js";
import { signedHeaders } from "../../domain/webhooks/signature.js";
import { onChange } from "../../operations/changes.js";
import type { MasterKey } from "../../platform/crypto.js";
import type { Logger } from "../../platform/logger.js";
import type { Signals } from "../../platform/signals.js";
import { isDatabaseAway } from "../../platform/sql.js";
import type { DeliveryOutcome } from "./observer.js";
import type { Answer, Message, Sender } from "./sender.js";

/** Between two looks that signals ask for: a busy installation costs ten a second, and not one per operation. */
const LOOK_EVERY_MS = 100;

export interface DelivererDeps {
  readonly outbox: Outbox;
  readonly sender: Pick<Sender, "send">;
  readonly masterKey: MasterKey;
  readonly signals: Signals;
  readonly logger: Logger;
  /** Milliseconds. */
  readonly timing: { readonly leaseMs: number; readonly heartbeatMs: number; readonly sweepMs: number };
  /** Deliveries of this worker at a time, in all and of one organization. */
  readonly concurrency: number;
  readonly perOrganization: number;
  /** Hears what came of each try, once it is written down. */
  readonly observe?: (outcome: DeliveryOutcome) => void;
}

/** A delivery on its way. */
interface Flight {
  readonly delivery: ClaimedDelivery;
  readonly abort: AbortController;
  leasedAt: number;
}

const UNSIGNED: Answer = {
  ...{ statusCode: null, response: null, gone: false, retryAfterMs: 0 },
  error: "it could not be signed: the operator's log has the reason",
};

const OUTCOME = { succeeded: "succeeded", pending: "retried", failed: "given_up" } as const;

/** Why a delivery was broken off. */
type BreakOff = "lease-lost" | "shutdown";

/** Delivers events to webhooks: claims what is due, and sees each try to its end or lets another worker do so. */
export class Deliverer {
  readonly #deps: DelivererDeps;
  readonly #flights = new Set<Flight>();
  readonly #landings = new Set<Promise<void>>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #unsubscribe: (() => void)[] = [];
  #looking: Promise<void> | null = null;
  #again = false;
  #soon: NodeJS.Timeout | null = null;
  #renewing = false;
  #stopped = false;

  constructor(deps: DelivererDeps) {
    this.#deps = deps;
  }

  /** Looks from time to time, and soon after a signal, until `stop`. */
  start(): void {
    const { signals, timing } = this.#deps;
    this.#unsubscribe.push(
      onChange(signals, () => this.#lookSoon()),
      signals.subscribe("webhook.due", () => this.#lookSoon()),
    );
    this.#timers.push(setInterval(() => void this.look(), timing.sweepMs));
    this.#timers.push(setInterval(() => void this.#renew(), timing.heartbeatMs));
    void this.look();
  }

  /** Claims no more; what is on its way is given `graceMs` to end, then is handed over to other workers. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    if (this.#soon !== null) clearTimeout(this.#soon);
    await this.#looking;
    const timer = setTimeout(() => {
      for (const flight of this.#flights) breakOff(flight, "shutdown");
    }, graceMs);
    await Promise.all(this.#landings);
    clearTimeout(timer);
    for (const each of this.#timers) clearInterval(each);
  }

  #lookSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = null;
      void this.look();
    }, LOOK_EVERY_MS);
  }

  /** Claims and sends what is due and there is room for. Never rejects: what is due now is due at the next look. */
  look(): Promise<void> {
    this.#again = true;
    this.#looking ??= this.#claim()
      .catch((error: unknown) => {
        this.#again = false;
        this.#deps.logger.warn({ err: error }, "webhooks could not be looked at; a later sweep tries again");
      })
      .finally(() => {
        this.#looking = null;
        // Asked for after the last look at it.
        if (this.#again && !this.#stopped) void this.look();
      });
    return this.#looking;
  }

  async #claim(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      const room = this.#deps.concurrency - this.#flights.size;
      if (room <= 0) return;
      for (const webhook of await this.#deps.outbox.owing(this.#fullOrganizations(), room))
        await this.#take(webhook);
    }
  }

  async #take({ id, organizationId }: OwingWebhook): Promise<void> {
    const { concurrency, perOrganization, outbox, logger } = this.#deps;
    const room = Math.min(
      concurrency - this.#flights.size,
      perOrganization - this.#inFlightOf(organizationId),
    );
    if (room <= 0 || this.#stopped) return;
    const leasedAt = performance.now();
    const claimed = await outbox.claim(id, room);
    // There may be more; and with a failure between, the leases run out.
    if (claimed.length > 0) this.#again = true;
    for (const delivery of claimed) {
      const flight = { delivery, abort: new AbortController(), leasedAt };
      this.#flights.add(flight);
      const landing = this.#fly(flight)
        .catch((error: unknown) => {
          const level = isDatabaseAway(error) ? "warn" : "error";
          logger[level](
            { err: error, deliveryId: delivery.id },
            "a delivery could not be taken to its end here",
          );
        })
        .finally(() => {
          this.#flights.delete(flight);
          this.#landings.delete(landing);
          if (!this.#stopped) void this.look();
        });
      this.#landings.add(landing);
    }
  }

  #inFlightOf(organizationId: string): number {
    let count = 0;
    for (const { delivery } of this.#flights) {
      if (delivery.event.organizationId === organizationId) count += 1;
    }
    return count;
  }

  #fullOrganizations(): string[] {
    const organizations = new Set([...this.#flights].map(({ delivery }) => delivery.event.organizationId));
    return [...organizations].filter((id) => this.#inFlightOf(id) >= this.#deps.perOrganization);
  }

  async #fly(flight: Flight): Promise<void> {
    const { outbox, sender, logger } = this.#deps;
    const { delivery, abort } = flight;
    // A process that slept since the claim must not send what another may have sent, and what came after it.
    if (this.#isOver(flight)) return;
    const [startedAt, begun] = [new Date(), performance.now()];
    let answer: Answer;
    try {
      const message = this.#prepare(delivery, startedAt);
      answer = message === null ? UNSIGNED : await sender.send(message, abort.signal);
    } catch (error) {
      if (abort.signal.reason === "shutdown") await outbox.release(delivery);
      else if (!abort.signal.aborted) throw error;
      return;
    }
    const durationMs = Math.round(performance.now() - begun);
    const { status, disabled } = await outbox.finish(delivery, { ...answer, startedAt, durationMs });
    if (status !== null) this.#deps.observe?.(OUTCOME[status]);
    const { webhookId, attempt, event } = delivery;
    const about = {
      webhookId,
      deliveryId: delivery.id,
      eventType: event.type,
      operationId: event.operationId,
    };
    if (status === null) logger.info({ ...about, attempt }, "another worker has taken a delivery over");
    else if (status === "failed") logger.info({ ...about, reason: answer.error }, "a delivery was given up");
    if (disabled !== null) logger.warn({ ...about, reason: disabled }, "a webhook was disabled");
  }

  /** Null where it cannot be signed: a fault of ours, and the try counts as failed. */
  #prepare({ id, url, event, secrets }: ClaimedDelivery, at: Date): Message | null {
    const { masterKey, logger } = this.#deps;
    try {
      const body = JSON.stringify(toMessage(event));
      const keys = secrets.map((secret) => openWebhookSecret(masterKey, secret));
      const timestamp = Math.floor(at.getTime() / 1_000);
      return { url, body, headers: signedHeaders(keys, { id: event.id, timestamp, body }) };
    } catch (error) {
      logger.error({ err: error, deliveryId: id }, "a message of a webhook could not be signed");
      return null;
    }
  }

  #isOver({ leasedAt }: Flight): boolean {
    return performance.now() - leasedAt > this.#deps.timing.leaseMs;
  }

  /** Keeps the leases of all that is on its way, with one statement. */
  async #renew(): Promise<void> {
    const flights = [...this.#flights];
    for (const flight of flights) if (this.#isOver(flight)) breakOff(flight, "lease-lost");
    if (flights.length === 0 || this.#renewing) return;
    this.#renewing = true;
    const askedAt = performance.now();
    try {
      const mine = await this.#deps.outbox.renew(flights.map(({ delivery }) => delivery));
      for (const flight of flights) {
        if (mine.has(flight.delivery)) flight.leasedAt = askedAt;
        else breakOff(flight, "lease-lost");
      }
    } catch (error) {
      // For a moment only: a lease that has run out ends the try.
      this.#deps.logger.debug({ err: error }, "leases of deliveries could not be renewed");
    } finally {
      this.#renewing = false;
    }
  }
}

function breakOff({ abort }: Flight, reason: BreakOff): void {
  if (!abort.signal.aborted) abort.abort(reason);
}
