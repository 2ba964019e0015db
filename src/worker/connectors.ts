import type { Connector, DestinationConnector, Role, SourceConnector } from "../connectors/connector.js";
import { ConnectorError } from "../connectors/connector.js";
import { OperationFailure, problem } from "./handler.js";

/** The connectors that a worker can run, by type. */
export type Connectors = ReadonlyMap<string, Connector>;

export function sourceOf(connectors: Connectors, type: string): SourceConnector {
  return connectors.get(type)?.source ?? missing("source", type);
}

export function destinationOf(connectors: Connectors, type: string): DestinationConnector {
  return connectors.get(type)?.destination ?? missing("destination", type);
}

function missing(role: Role, type: string): never {
  const detail = `this worker has no ${role} connector of type "${type}"`;
  throw new OperationFailure(problem("unsupported", "Connector missing", 500, detail));
}

const STATUS: Readonly<Record<ConnectorError["code"], readonly [status: number, title: string]>> = {
  unreachable: [502, "Store not reachable"],
  unauthorized: [502, "Store refused the credentials"],
  not_found: [404, "Not found at the store"],
  invalid_data: [422, "Data does not fit"],
  invalid_config: [400, "Configuration is wrong"],
  unsupported: [422, "Not supported"],
  failed: [502, "Store failed"],
};

/** A store's failure as an operation's error; anything else is passed on as it is. */
export function toFailure(error: unknown, details: Readonly<Record<string, string>> = {}): unknown {
  if (!(error instanceof ConnectorError)) return error;
  const [status, title] = STATUS[error.code];
  const where = { ...details, ...error.details };
  return new OperationFailure(
    problem(error.code.replace("_", "-"), title, status, error.message, where),
    error,
  );
}
