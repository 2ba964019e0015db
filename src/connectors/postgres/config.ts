import type { ConfigProperty, ConfigSchema, ConnectorConfig } from "../connector.js";

type SslMode = "disable" | "prefer" | "require" | "verify-full";

/** Where a server is and who asks. */
export interface Server {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
  readonly sslMode: SslMode;
  /** PEM; absent: the authorities that Node.js knows. */
  readonly ca?: string;
}

const DEFAULT_SCHEMA = "public";
const DEFAULT_PORT = 5432;

const SSL_MODES: readonly SslMode[] = ["disable", "prefer", "require", "verify-full"];

const SERVER: Readonly<Record<string, ConfigProperty>> = {
  host: { type: "string", title: "Host", description: "Name or address of the server.", minLength: 1 },
  port: { type: "integer", title: "Port", minimum: 1, maximum: 65_535, default: DEFAULT_PORT },
  database: { type: "string", title: "Database", minLength: 1 },
  username: { type: "string", title: "User name", minLength: 1 },
  password: { type: "string", title: "Password", secret: true },
};

const SSL: ConfigProperty = {
  type: "object",
  title: "TLS",
  properties: {
    mode: {
      type: "string",
      enum: SSL_MODES,
      default: "prefer",
      description:
        "prefer: TLS where the server offers it; require: only with TLS; verify-full: and only with a certificate that is valid for the host.",
    },
    ca: { type: "string", description: "Certificate of the authority to trust (PEM)." },
  },
  additionalProperties: false,
};

const REQUIRED = ["host", "database", "username"] as const;

/** What a source is configured with. */
export const SOURCE_SPEC: ConfigSchema = {
  type: "object",
  properties: {
    ...SERVER,
    schemas: {
      type: "array",
      title: "Schemas",
      items: { type: "string", minLength: 1 },
      minItems: 1,
      uniqueItems: true,
      default: [DEFAULT_SCHEMA],
    },
    ssl: SSL,
  },
  required: REQUIRED,
  additionalProperties: false,
};

/** What a destination is configured with. */
export const DESTINATION_SPEC: ConfigSchema = {
  type: "object",
  properties: {
    ...SERVER,
    schema: {
      type: "string",
      title: "Schema",
      description: "Where the tables go; made where it is missing and the user may.",
      minLength: 1,
      default: DEFAULT_SCHEMA,
    },
    ssl: SSL,
  },
  required: REQUIRED,
  additionalProperties: false,
};

/** The server of a configuration, source or destination. */
export function serverOf(config: ConnectorConfig): Server {
  const ssl = config["ssl"];
  const { mode, ca } = (typeof ssl === "object" && ssl !== null ? ssl : {}) as Record<string, unknown>;
  return {
    host: text(config["host"]),
    port: typeof config["port"] === "number" ? config["port"] : DEFAULT_PORT,
    database: text(config["database"]),
    username: text(config["username"]),
    password: text(config["password"]),
    sslMode: SSL_MODES.find((each) => each === mode) ?? "prefer",
    ...(typeof ca === "string" && ca.trim() !== "" ? { ca } : {}),
  };
}

/** The schemas that a source reads. */
export function schemasOf(config: ConnectorConfig): readonly string[] {
  const schemas = config["schemas"];
  return Array.isArray(schemas) && schemas.length > 0 ? schemas.map(text) : [DEFAULT_SCHEMA];
}

/** The schema that a destination writes to. */
export function schemaOf(config: ConnectorConfig): string {
  const schema = text(config["schema"]);
  return schema === "" ? DEFAULT_SCHEMA : schema;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
