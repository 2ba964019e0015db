const nonEmpty = { type: "string", minLength: 1 } as const;
const quota = { type: "integer", minimum: 0, maximum: 10_000_000 } as const;
const hours = { type: "integer", minimum: 1, maximum: 8_760 } as const;
const milliseconds = { type: "integer", minimum: 50, maximum: 600_000 } as const;

/** Names with commas between. A name becomes a part of a queue's name, which has to stay short. */
const REGIONS_PATTERN = "^\\s*[a-z0-9-]{1,32}\\s*(,\\s*[a-z0-9-]{1,32}\\s*)*$";

/** Names, kinds and bounds of all settings. */
export const SCHEMA = {
  type: "object",
  properties: {
    PORT: { type: "integer", minimum: 0, maximum: 65_535, default: 8080 },
    HOST: { ...nonEmpty, default: "127.0.0.1" },
    PUBLIC_URL: { type: "string", pattern: "^https?://[^\\s/]+(/[^\\s]*)?$" },
    DATABASE_URL: { type: "string", pattern: "^postgres(ql)?://" },
    REDIS_URL: { type: "string", pattern: "^rediss?://" },
    GATEHOUSE_MASTER_KEY: nonEmpty,
    GATEHOUSE_MASTER_KEY_OLD: { type: "string", default: "" },
    GATEHOUSE_HOME: { ...nonEmpty, default: ".gatehouse" },
    GATEHOUSE_CONFIG: nonEmpty,
    FILES_ROOT: nonEmpty,
    BLOBS_ROOT: nonEmpty,
    IMPORT_LIMIT_MIB: { type: "integer", minimum: 1, maximum: 16_777_216, default: 10_240 },
    METRICS_PORT: { type: "integer", minimum: 1, maximum: 65_534 },
    METRICS_HOST: { ...nonEmpty, default: "127.0.0.1" },
    OTEL_EXPORTER_OTLP_ENDPOINT: { type: "string", pattern: "^https?://[^\\s/]+(/[^\\s]*)?$" },
    CORS_ORIGINS: { type: "string", default: "http://localhost:8000" },
    TRUST_PROXY: { type: "string", default: "" },
    ALLOW_SIGNUP: { type: "boolean", default: false },
    SESSION_SAMESITE: { enum: ["lax", "strict", "none"], default: "lax" },
    SESSION_LIFETIME_HOURS: { ...hours, default: 14 * 24 },
    SESSION_IDLE_HOURS: { ...hours, default: 24 },
    BOOTSTRAP_CLIENT_ID: { type: "string", pattern: "^[A-Za-z0-9._~-]{3,128}$" },
    BOOTSTRAP_CLIENT_SECRET: { type: "string", minLength: 32, maxLength: 256 },
    OUTBOUND_ALLOW: { type: "string" },
    LOG_LEVEL: { enum: ["trace", "debug", "info", "warn", "error", "fatal", "silent"], default: "info" },
    RATE_LIMIT_REQUESTS: { ...quota, default: 6_000 },
    RATE_LIMIT_FAILURES: { ...quota, default: 120 },
    RATE_LIMIT_TOKENS_PER_CLIENT: { ...quota, default: 600 },
    RATE_LIMIT_TOKENS_PER_ADDRESS: { ...quota, default: 3_000 },
    OPERATION_RETENTION_DAYS: { type: "integer", minimum: 1, maximum: 3_650, default: 30 },
    RUN_RETENTION_DAYS: { type: "integer", minimum: 1, maximum: 3_650, default: 90 },
    AUDIT_RETENTION_DAYS: { type: "integer", minimum: 1, maximum: 3_650, default: 365 },
    // Events of an operation are tried one after the other, each for a day and more: none is removed before its turn.
    WEBHOOK_RETENTION_DAYS: { type: "integer", minimum: 8, maximum: 3_650, default: 30 },
    ROTATE_KEYS_DAYS: { type: "integer", minimum: 0, maximum: 3_650, default: 90 },
    // Requests that have begun have the rest of 20 s (api.ts).
    DRAIN_SECONDS: { type: "integer", minimum: 0, maximum: 20, default: 0 },
    WORKER_CONCURRENCY: { type: "integer", minimum: 1, maximum: 256, default: 8 },
    ORGANIZATION_CONCURRENCY: { type: "integer", minimum: 1, maximum: 1_000, default: 50 },
    GATEHOUSE_REGIONS: { type: "string", pattern: REGIONS_PATTERN },
    GATEHOUSE_LEASE_MS: { ...milliseconds, default: 6_000 },
    GATEHOUSE_HEARTBEAT_MS: { ...milliseconds, default: 1_500 },
    GATEHOUSE_SWEEP_MS: { ...milliseconds, default: 1_000 },
    // The whole stop is ended by force after 30 s (role.ts).
    GATEHOUSE_GRACE_MS: { type: "integer", minimum: 0, maximum: 20_000, default: 20_000 },
  },
} as const;

/** What each fault would have to look like, for the message. */
export const WANTED: Readonly<Record<string, string>> = {
  PORT: "a port number, 0 to 65535",
  PUBLIC_URL: "an absolute http or https URL",
  METRICS_PORT: "a port number, 1 to 65534",
  OTEL_EXPORTER_OTLP_ENDPOINT: "an absolute http or https URL",
  DATABASE_URL: "postgresql://user:password@host:port/database",
  REDIS_URL: "redis://host:port or rediss://host:port",
  ALLOW_SIGNUP: "true or false",
  SESSION_SAMESITE: "lax, strict or none",
  SESSION_LIFETIME_HOURS: "a number of hours from 1 to 8760",
  SESSION_IDLE_HOURS: "a number of hours from 1 to 8760",
  BOOTSTRAP_CLIENT_ID: "3 to 128 of the characters A-Z a-z 0-9 . _ ~ -",
  BOOTSTRAP_CLIENT_SECRET: "at least 32 characters, at most 256 (openssl rand -base64 32)",
  LOG_LEVEL: "trace, debug, info, warn, error, fatal or silent",
  DRAIN_SECONDS: "a number of seconds from 0 to 20",
  WORKER_CONCURRENCY: "a number from 1 to 256",
  IMPORT_LIMIT_MIB: "a number of MiB from 1 to 16777216",
  ORGANIZATION_CONCURRENCY: "a number from 1 to 1000",
  GATEHOUSE_GRACE_MS: "milliseconds, 0 to 20000",
  GATEHOUSE_REGIONS: "names of regions (a-z 0-9 -, at most 32 characters) with commas between, or none",
};

/** What `SCHEMA` makes of an environment. */
export interface Settings {
  readonly PORT: number;
  readonly HOST: string;
  readonly PUBLIC_URL?: string;
  readonly DATABASE_URL?: string;
  readonly REDIS_URL?: string;
  readonly GATEHOUSE_MASTER_KEY?: string;
  readonly GATEHOUSE_MASTER_KEY_OLD: string;
  readonly GATEHOUSE_HOME: string;
  readonly GATEHOUSE_CONFIG?: string;
  readonly FILES_ROOT?: string;
  readonly BLOBS_ROOT?: string;
  readonly IMPORT_LIMIT_MIB: number;
  readonly METRICS_PORT?: number;
  readonly METRICS_HOST: string;
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string;
  readonly CORS_ORIGINS: string;
  readonly TRUST_PROXY: string;
  readonly ALLOW_SIGNUP: boolean;
  readonly SESSION_SAMESITE: "lax" | "strict" | "none";
  readonly SESSION_LIFETIME_HOURS: number;
  readonly SESSION_IDLE_HOURS: number;
  readonly BOOTSTRAP_CLIENT_ID?: string;
  readonly BOOTSTRAP_CLIENT_SECRET?: string;
  readonly OUTBOUND_ALLOW?: string;
  readonly LOG_LEVEL: string;
  readonly RATE_LIMIT_REQUESTS: number;
  readonly RATE_LIMIT_FAILURES: number;
  readonly RATE_LIMIT_TOKENS_PER_CLIENT: number;
  readonly RATE_LIMIT_TOKENS_PER_ADDRESS: number;
  readonly OPERATION_RETENTION_DAYS: number;
  readonly RUN_RETENTION_DAYS: number;
  readonly AUDIT_RETENTION_DAYS: number;
  readonly WEBHOOK_RETENTION_DAYS: number;
  readonly ROTATE_KEYS_DAYS: number;
  readonly DRAIN_SECONDS: number;
  readonly WORKER_CONCURRENCY: number;
  readonly ORGANIZATION_CONCURRENCY: number;
  readonly GATEHOUSE_REGIONS?: string;
  readonly GATEHOUSE_LEASE_MS: number;
  readonly GATEHOUSE_HEARTBEAT_MS: number;
  readonly GATEHOUSE_SWEEP_MS: number;
  readonly GATEHOUSE_GRACE_MS: number;
}
