import { Counter } from "prom-client";
import type { Metrics } from "../../platform/metrics.js";

/** What came of a try: delivered, to be tried again, or given up. */
export type DeliveryOutcome = "succeeded" | "retried" | "given_up";

const OUTCOMES: readonly DeliveryOutcome[] = ["succeeded", "retried", "given_up"];

/** Counts what this process tries to deliver to webhooks. */
export function observeDeliveries(metrics: Metrics): (outcome: DeliveryOutcome) => void {
  const tries = new Counter({
    name: "gatehouse_webhook_tries_total",
    help: "Tries of this process to deliver to webhooks, by what came of them.",
    labelNames: ["outcome"],
    registers: [metrics],
  });
  // Alerts on a growth need a beginning.
  for (const outcome of OUTCOMES) tries.inc({ outcome }, 0);
  return (outcome) => tries.inc({ outcome });
}
