import type { MasterKey } from "../../../platform/crypto.js";
import { type Connectors, sourceOf, toFailure } from "../../connectors.js";
import type { OperationHandler } from "../../handler.js";
import { openProbe } from "./payload.js";

/** Lists the streams of a source. */
export function discoverHandler(connectors: Connectors, masterKey: MasterKey): OperationHandler {
  return {
    type: "discover",
    async run({ operation, signal, logger }) {
      const { type, config } = openProbe(operation, masterKey);
      const log = (_level: string, message: string): void => logger.debug(message);
      try {
        return { streams: await sourceOf(connectors, type).discover(config, { signal, log }) };
      } catch (error) {
        throw toFailure(error);
      }
    },
  };
}
