import type { ConnectorConfig } from "../../../connectors/connector.js";
import type { ClaimedOperation } from "../../../operations/operation.js";
import type { MasterKey } from "../../../platform/crypto.js";

/** What a check or a discovery is about. */
export interface ProbePayload {
  readonly role: "source" | "destination";
  readonly type: string;
  readonly version: string;
}

/** The payload and the configuration, which travels encrypted. */
export function openProbe(
  operation: ClaimedOperation,
  masterKey: MasterKey,
): ProbePayload & { config: ConnectorConfig } {
  if (operation.payloadSecrets === null) throw new Error("the operation carries no configuration");
  const config = masterKey.decrypt("operation-payloads", operation.id, operation.payloadSecrets);
  return { ...(operation.payload as ProbePayload), config: JSON.parse(config.toString()) as ConnectorConfig };
}
