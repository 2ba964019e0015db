import { moveToFreePort } from "../../../domain/deployments/address.js";
import type { CreatePayload } from "../../../domain/deployments/operations.js";
import { EngineError } from "../../../engines/engine.js";
import type { HandlerContext } from "../../handler.js";
import type { DeploymentDeps } from "./deps.js";
import { type Held, hold } from "./instance.js";

/** A port can be anybody's by the time the server wants it: then another one is tried, so often. */
const PORTS_TRIED = 5;

/** Makes an empty database and starts its server. */
export async function create(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: CreatePayload,
): Promise<unknown> {
  context.progress({ percent: 5, message: "making an empty database" });
  const held = await hold(deps, context, payload);
  await context.step("provision", () => held.engine.provision(held.instance, held.context));
  context.progress({ percent: 60, message: "starting the server" });
  return context.step("start", () => firstStart(deps, context, payload, held), { repeat: true });
}

/** Nobody knows its address yet: where something else listens on its port, it gets another. */
export async function firstStart(
  deps: DeploymentDeps,
  context: HandlerContext,
  target: CreatePayload,
  first: Held,
): Promise<{ readonly port: number }> {
  const taken: number[] = [];
  for (let held = first; ; held = await hold(deps, context, target)) {
    const { engine, instance, site } = held;
    try {
      await engine.start(instance, held.context);
      return { port: instance.place.port };
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== "port_taken") throw error;
      taken.push(instance.place.port);
      if (taken.length === PORTS_TRIED) throw error;
      await context.write((tx) => moveToFreePort(tx, site.region, instance.id, taken));
    }
  }
}
