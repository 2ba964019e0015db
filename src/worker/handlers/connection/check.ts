import { type ConnectorContext, ConnectorError } from "../../../connectors/connector.js";
import type { MasterKey } from "../../../platform/crypto.js";
import { type Connectors, destinationOf, sourceOf } from "../../connectors.js";
import type { OperationHandler } from "../../handler.js";
import { openProbe } from "./payload.js";

interface Line {
  readonly level: string;
  readonly time: string;
  readonly message: string;
}

/** Tests a connection; a store that says no is a result, not a failure of the operation. */
export function checkHandler(connectors: Connectors, masterKey: MasterKey): OperationHandler {
  return {
    type: "check",
    async run({ operation, signal }) {
      const { role, type, config } = openProbe(operation, masterKey);
      const logs: Line[] = [];
      const log = (level: string, message: string): void => {
        logs.push({ level, time: new Date().toISOString(), message });
      };
      const context: ConnectorContext = { signal, log };
      try {
        const connector = role === "source" ? sourceOf(connectors, type) : destinationOf(connectors, type);
        await connector.check(config, context);
        log("info", "connection succeeded");
        return { status: "SUCCEEDED", message: "connection succeeded", logs };
      } catch (error) {
        if (!(error instanceof ConnectorError)) throw error;
        log("error", error.message);
        return { status: "FAILED", message: error.message, logs };
      }
    },
  };
}
