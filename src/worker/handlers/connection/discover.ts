import { ConnectorError } from "../../../connectors/connector.js";
import type { MasterKey } from "../../../platform/crypto.js";
import { type Connectors, sourceOf, toFailure } from "../../connectors.js";
import type { OperationHandler } from "../../handler.js";
import { openProbe } from "./payload.js";

/** Characters of JSON: they are kept with the operation, and answered in one piece. */
const MOST = 16 * 1024 * 1024;

/** Lists the streams of a source; of one that has more than can be told at once, it fails. */
export function discoverHandler(connectors: Connectors, masterKey: MasterKey): OperationHandler {
  return {
    type: "discover",
    async run({ operation, signal, logger }) {
      const { type, config } = openProbe(operation, masterKey);
      const log = (_level: string, message: string): void => logger.debug(message);
      try {
        const streams = await sourceOf(connectors, type).discover(config, { signal, log });
        if (JSON.stringify(streams).length > MOST) throw tooMany(streams.length);
        return { streams };
      } catch (error) {
        throw toFailure(error);
      }
    },
  };
}

function tooMany(streams: number): ConnectorError {
  const message = `the source has ${streams} streams, and what there is to say of them is more than ${MOST / 1024 / 1024} MiB: name fewer schemas, or a user that may read less`;
  return new ConnectorError("unsupported", message, { details: { streams } });
}
