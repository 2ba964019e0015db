import { resolve } from "node:path";
import type { Connector, Role } from "./connector.js";
import { createFileConnector } from "./file/connector.js";
import { createOutboundPolicy, type OutboundOptions } from "./outbound.js";
import { createPostgresConnector } from "./postgres/connector.js";

export interface ConnectorSettings {
  readonly filesRoot: string;
  readonly outboundAllow: readonly string[];
  /** The control plane's own database and queue: never reached by a connector. */
  readonly forbidden: OutboundOptions["forbidden"];
}

/** The built-in connectors, by type. */
export function buildConnectors(settings: ConnectorSettings): ReadonlyMap<string, Connector> {
  const policy = createOutboundPolicy({ allow: settings.outboundAllow, forbidden: settings.forbidden });
  const examples = resolve(import.meta.dirname, "../../examples");
  const connectors = [
    createPostgresConnector(policy),
    createFileConnector({ root: settings.filesRoot, readOnlyRoots: [{ name: "examples", path: examples }] }),
  ];
  return new Map(connectors.map((connector) => [connector.type, connector]));
}

/** What the domain's catalog needs to know of one connector's role. */
export interface RoleSpec {
  readonly type: string;
  readonly version: string;
  readonly schema: object;
  readonly secretFields: readonly string[];
}

/** The connectors as the domain sees them: what their configurations look like. */
export function catalogOf(connectors: ReadonlyMap<string, Connector>) {
  const serving = (role: Role, type: string): Connector | null => {
    const connector = connectors.get(type);
    return connector?.[role] === undefined ? null : connector;
  };
  return {
    spec(role: Role, type: string, version: string): RoleSpec | null {
      const connector = serving(role, type);
      const schema = connector?.[role]?.spec;
      if (connector === null || schema === undefined || !connector.versions.includes(version)) return null;
      const secretFields = Object.entries(schema.properties).flatMap(([name, field]) =>
        field.secret === true ? [name] : [],
      );
      return { type, version, schema, secretFields };
    },
    versions: (role: Role, type: string): readonly string[] => serving(role, type)?.versions ?? [],
    types: (role: Role): string[] => [...connectors.keys()].filter((type) => serving(role, type) !== null),
  };
}
