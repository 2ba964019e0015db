import { exchangeAddresses } from "../../../domain/deployments/address.js";
import type { ExchangePayload, Target } from "../../../domain/deployments/operations.js";
import type { HandlerContext } from "../../handler.js";
import { orPutRight } from "./command.js";
import type { DeploymentDeps } from "./deps.js";
import { type Held, hold } from "./instance.js";

/**
 * Exchanges the addresses of two deployments, and what opens them: who has the one's URL reaches the other's data.
 * Both are stopped before, so that there are never two at one address; the exchange itself is one transaction.
 */
export async function exchange(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: ExchangePayload,
): Promise<void> {
  const both = [payload, payload.other] as const;
  const start = async (signal?: AbortSignal): Promise<void> => {
    // As their rows are now: before the exchange, or after it. One that cannot be started does not keep the other from it.
    const starts = both.map(async (target) =>
      startIfServing(await hold(deps, context, target, {}, signal), target),
    );
    const failed = (await Promise.allSettled(starts)).find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
  };
  const stop = async (): Promise<void> => {
    for (const target of both) {
      const { engine, instance, context: at } = await hold(deps, context, target);
      await engine.stop(instance, at);
    }
  };
  await orPutRight(
    context,
    async () => {
      context.progress({ percent: 10, message: "stopping both" });
      // By every attempt: whatever runs now may be at either address.
      await context.step("stop", () => stop(), { repeat: true });
      context.progress({ percent: 50, message: "exchanging the addresses" });
      await context.step("exchange", () =>
        context.write((tx) =>
          exchangeAddresses(tx, deps.masterKey, context.operation.id, [
            payload.deploymentId,
            payload.other.deploymentId,
          ]),
        ),
      );
      context.progress({ percent: 60, message: "starting both" });
      await context.step("start", () => start(), { repeat: true });
    },
    start,
  );
}

async function startIfServing({ engine, instance, context }: Held, { before }: Target): Promise<void> {
  if (before === "running") await engine.start(instance, context);
}
