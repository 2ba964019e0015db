import type { Connector } from "../connector.js";
import type { OutboundPolicy } from "../outbound.js";
import { CONNECT_TIMEOUT_MS } from "./client.js";
import { createDestination } from "./destination.js";
import { createSource } from "./source.js";

/** Versions of the connector, newest first. */
export const POSTGRES_CONNECTOR_VERSIONS: readonly string[] = ["1.0.0"];

export interface PostgresConnectorOptions {
  /** How long connecting may take, name resolution and TLS included. */
  readonly connectTimeoutMs?: number;
}

/** PostgreSQL as source and destination; every address it connects to has passed the policy. */
export function createPostgresConnector(
  policy: OutboundPolicy,
  options: PostgresConnectorOptions = {},
): Connector {
  const dialer = { policy, timeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS };
  return {
    type: "postgres",
    versions: POSTGRES_CONNECTOR_VERSIONS,
    title: "PostgreSQL",
    source: createSource(dialer),
    destination: createDestination(dialer),
  };
}
