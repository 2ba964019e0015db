import { createOutboundPolicy, type OutboundOptions } from "../../src/connectors/outbound.js";
import { Outbox } from "../../src/domain/webhooks/outbox.js";
import type { DeliveryPolicy } from "../../src/domain/webhooks/policy.js";
import type { OperationRequest } from "../../src/operations/new-operation.js";
import type { Outcome } from "../../src/operations/operation.js";
import { newId } from "../../src/platform/ids.js";
import { forbiddenAddresses } from "../../src/reserved.js";
import { Deliverer, type DelivererDeps } from "../../src/worker/webhooks/deliverer.js";
import { Sender } from "../../src/worker/webhooks/sender.js";
import { wish } from "../operations/support.js";
import { type Installation, type InstallationOptions, openInstallation } from "../support/installation.js";
import { until } from "../support/until.js";

/** A webhook as the core API shows it. */
export interface WebhookAnswer {
  readonly id: string;
  readonly secret: string;
  readonly projectId: string | null;
  readonly url: string;
  readonly events: readonly string[];
  readonly operationTypes: readonly string[];
  readonly purpose: string | null;
  readonly enabled: boolean;
  readonly disabledReason: string | null;
  readonly failures: number;
  readonly failingSince: string | null;
  readonly secrets: readonly { readonly id: string; readonly expiresAt: string | null }[];
}

interface Attempt {
  readonly number: number;
  readonly durationMs: number;
  readonly statusCode: number | null;
  readonly response: string | null;
  readonly error: string | null;
}

export interface DeliveryAnswer {
  readonly id: string;
  readonly eventId: string;
  readonly eventType: string;
  readonly operationId: string | null;
  readonly status: string;
  readonly tries: number;
  readonly nextAttemptAt: string | null;
  readonly finishedAt: string | null;
  readonly lastAttempt: Attempt | null;
  readonly attempts: readonly Attempt[];
  readonly message: Readonly<Record<string, unknown>> & { readonly data: Readonly<Record<string, unknown>> };
}

export interface DelivererOptions
  extends Partial<Pick<DelivererDeps, "concurrency" | "perOrganization" | "observe">> {
  readonly policy?: Partial<DeliveryPolicy>;
  readonly perWebhook?: number;
  readonly timeoutMs?: number;
  readonly leaseMs?: number;
  readonly outbound?: Partial<OutboundOptions>;
}

/** A Gatehouse without a worker, with deliverers that the test starts. */
export interface WebhookBench {
  readonly installation: Installation;
  /** Makes a webhook over the API. */
  create(url: string, more?: object, token?: string): Promise<WebhookAnswer>;
  read(id: string): Promise<WebhookAnswer>;
  deliveries(id: string, query?: string): Promise<DeliveryAnswer[]>;
  /** The one delivery of a webhook, when it is like this. */
  untilDelivery(id: string, what: Partial<DeliveryAnswer>): Promise<DeliveryAnswer>;
  /** Starts a deliverer; all are stopped by `stopAll`. */
  start(options?: DelivererOptions): Deliverer;
  stopAll(): Promise<void>;
  /** Accepts an operation, in the first project unless told otherwise; its id. */
  accept(more?: Partial<OperationRequest>): Promise<string>;
  /** Claims it and ends it. */
  run(id: string, outcome?: Outcome): Promise<void>;
  close(): Promise<void>;
}

const TIMING = { leaseMs: 2_000, heartbeatMs: 100, sweepMs: 50 };
/** No test waits for more than it has to. */
const POLICY: DeliveryPolicy = {
  maxTries: 3,
  delayMs: () => 1,
  disableAfterFailures: 1_000,
  disableAfterMs: 0,
};

export const SUCCEEDED: Outcome = { status: "succeeded", result: { rows: 1 } };

export async function openWebhookBench(options: InstallationOptions = {}): Promise<WebhookBench> {
  const installation = await openInstallation({ ...options, worker: false });
  const { runtime, call, organizationId, project } = installation;
  const { db, ledger, masterKey, signals, logger, config } = runtime;
  const running = new Set<Deliverer>();
  const stopAll = async (): Promise<void> => {
    await Promise.all([...running].map((deliverer) => deliverer.stop(0)));
    running.clear();
  };
  const read = async (id: string) => (await call<WebhookAnswer>("GET", `/api/v1/webhooks/${id}`)).body;
  const deliveries = async (id: string, query = "") =>
    (await call<{ items: DeliveryAnswer[] }>("GET", `/api/v1/webhooks/${id}/deliveries${query}`)).body.items;
  return {
    ...{ installation, read, deliveries, stopAll },
    async create(url, more = {}, token) {
      const asked = { body: { url, ...more }, ...(token === undefined ? {} : { token }) };
      const answer = await call<WebhookAnswer>("POST", "/api/v1/webhooks", asked);
      if (answer.status !== 201) throw new Error(answer.text);
      return answer.body;
    },
    untilDelivery: (id, what) =>
      until(`the delivery is ${JSON.stringify(what)}`, async () => {
        const [first] = await deliveries(id);
        if (first === undefined) return null;
        const { body } = await call<DeliveryAnswer>("GET", `/api/v1/webhooks/${id}/deliveries/${first.id}`);
        const wanted = Object.entries(what);
        return wanted.every(([name, value]) => body[name as keyof DeliveryAnswer] === value) ? body : null;
      }),
    start({ policy, perWebhook = 4, timeoutMs = 5_000, leaseMs = TIMING.leaseMs, outbound, ...more } = {}) {
      const workerId = newId();
      const allowed = createOutboundPolicy({
        allow: config.outboundAllow,
        forbidden: forbiddenAddresses(runtime),
        ...outbound,
      });
      const deliverer = new Deliverer({
        ...{ masterKey, signals, logger, concurrency: 32, perOrganization: 32 },
        ...more,
        timing: { ...TIMING, leaseMs },
        outbox: new Outbox(db, { workerId, leaseMs, perWebhook, policy: { ...POLICY, ...policy } }),
        sender: new Sender({ outbound: allowed, timeoutMs }),
      });
      running.add(deliverer);
      deliverer.start();
      return deliverer;
    },
    async accept(more = {}) {
      const request = wish({ organizationId, projectId: project.id, ...more });
      return (await db.transaction((tx) => ledger.request(tx, request))).id;
    },
    async run(id, outcome = SUCCEEDED) {
      const claimed = await ledger.claim(id, "a test", 60_000, []);
      if (claimed === null) throw new Error(`operation ${id} cannot be claimed`);
      await ledger.finish(id, claimed.attempt, outcome, async () => {});
    },
    async close() {
      await stopAll();
      await installation.close();
    },
  };
}
