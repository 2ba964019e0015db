import { isIP } from "node:net";
import { isAbsolute, resolve } from "node:path";
import { Ajv } from "ajv";
import { type DeploymentsConfig, toDeploymentsConfig } from "./config/deployments.js";
import { readConfigFile } from "./config/file.js";
import { SCHEMA, type Settings, WANTED } from "./config/settings.js";

/** How long claims live and how often the database is looked at; changed by tests alone. */
export interface Timing {
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly sweepMs: number;
}

/** The checked configuration: read once, never changed. */
export interface Config {
  readonly port: number;
  readonly host: string;
  /** Where clients reach the api, without a slash at the end: issuer of the tokens. */
  readonly publicUrl: string;
  /** Null: the embedded server. */
  readonly databaseUrl: string | null;
  /** Null: BullMQ and signals on PostgreSQL. */
  readonly redisUrl: string | null;
  /** Null: made at the first start, kept under `home`. */
  readonly masterKey: string | null;
  /** Keys that what is stored may still be protected by, with commas between; empty: none. */
  readonly oldMasterKeys: string;
  /** Absolute. */
  readonly home: string;
  /** What the file connector may see; absolute. */
  readonly filesRoot: string;
  /** Where uploads, snapshots and exports are stored; absolute. */
  readonly blobsRoot: string;
  /** Of an archive that is uploaded to be imported. */
  readonly importLimitBytes: number;
  /** Where databases run and what they may use. */
  readonly deployments: DeploymentsConfig;
  /** Where `/metrics` and the probes are served besides; null: nowhere. */
  readonly metricsPort: number | null;
  readonly metricsHost: string;
  /** Of an OTLP collector over http; null: nothing is traced. */
  readonly otlpEndpoint: string | null;
  readonly corsOrigins: readonly string[];
  /** Proxies whose `X-Forwarded-For` says where requests come from: addresses, CIDR, `loopback`, `private`. */
  readonly trustProxy: readonly string[];
  /** Whether people other than the first may sign up by themselves. */
  readonly allowSignUp: boolean;
  /** SameSite of the session cookie. */
  readonly sessionSameSite: "lax" | "strict" | "none";
  /** From login to the end of a session, whatever happens. */
  readonly sessionLifetimeMs: number;
  /** How long a session lives without any request. */
  readonly sessionIdleMs: number;
  readonly bootstrapClientId: string | null;
  readonly bootstrapClientSecret: string | null;
  /** Networks in CIDR form, or `loopback`, `private`, that connectors may reach besides public addresses. */
  readonly outboundAllow: readonly string[];
  /** Per minute; 0: no limit. */
  readonly limits: {
    readonly requests: number;
    readonly failures: number;
    readonly tokensPerClient: number;
    readonly tokensPerAddress: number;
  };
  /** Days that operations are kept after their end; runs, with their steps and logs; and audit events. */
  readonly operationRetentionDays: number;
  readonly runRetentionDays: number;
  readonly auditRetentionDays: number;
  /** Days that what was sent to webhooks is kept. */
  readonly webhookRetentionDays: number;
  /** Days after which a new signing key takes over; 0: never by itself. */
  readonly rotateKeysDays: number;
  readonly logLevel: string;
  readonly workerConcurrency: number;
  /** Running work gets this long to end at a stop; then other workers take it over. */
  readonly graceMs: number;
  /** An api of its own that is told to stop goes on answering this long, so that load balancers learn of it. */
  readonly drainMs: number;
  /** Operations that one organization may have running at once, on all workers together. */
  readonly organizationConcurrency: number;
  /** Regions whose operations a worker does, besides those of no region. */
  readonly regions: readonly string[];
  readonly timing: Timing;
}

const HOUR_MS = 3_600_000;
const NO_REGION = "none";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The configuration that an environment describes. An empty value counts as absent. Throws one error that
 * names every fault and what would be right.
 * @param cwd what relative paths are relative to
 */
export function loadConfig(env: Env, cwd: string): Config {
  const given = Object.fromEntries(
    Object.keys(SCHEMA.properties).flatMap((name) => {
      const value = env[name]?.trim();
      return value === undefined || value === "" ? [] : [[name, value]];
    }),
  );
  const validate = new Ajv({ allErrors: true, coerceTypes: true, useDefaults: true }).compile<Settings>(
    SCHEMA,
  );
  const faults: string[] = [];
  if (!validate(given)) {
    for (const error of validate.errors ?? []) {
      const name = error.instancePath.slice(1);
      faults.push(`${name} must be ${WANTED[name] ?? `right: ${error.message}`}`);
    }
  }
  const settings = given as unknown as Settings;
  if (settings.DATABASE_URL !== undefined && settings.GATEHOUSE_MASTER_KEY === undefined) {
    faults.push(
      "GATEHOUSE_MASTER_KEY is required with DATABASE_URL: 32 random bytes (openssl rand -base64 32)",
    );
  }
  if (settings.REDIS_URL !== undefined && settings.DATABASE_URL === undefined) {
    faults.push("REDIS_URL needs DATABASE_URL: the embedded database belongs to one machine");
  }
  if ((settings.BOOTSTRAP_CLIENT_ID === undefined) !== (settings.BOOTSTRAP_CLIENT_SECRET === undefined)) {
    faults.push("BOOTSTRAP_CLIENT_ID and BOOTSTRAP_CLIENT_SECRET must be set together");
  }
  const strange = list(settings.TRUST_PROXY).filter((proxy) => !isProxy(proxy));
  if (strange.length > 0) {
    faults.push(
      `TRUST_PROXY must be loopback, private, addresses or networks (10.0.0.0/8): ${strange.join(", ")}`,
    );
  }
  if (settings.SESSION_SAMESITE === "none" && !settings.PUBLIC_URL?.startsWith("https:")) {
    faults.push("SESSION_SAMESITE none needs a PUBLIC_URL with https: browsers drop such cookies elsewhere");
  }
  if (settings.GATEHOUSE_HEARTBEAT_MS * 2 > settings.GATEHOUSE_LEASE_MS) {
    faults.push("GATEHOUSE_HEARTBEAT_MS must be at most half of GATEHOUSE_LEASE_MS");
  }
  const deployments = loadDeployments(settings, cwd, faults);
  if (faults.length > 0) throw new Error(`the configuration cannot be used:\n  - ${faults.join("\n  - ")}`);
  return toConfig(settings, cwd, deployments);
}

function loadDeployments(settings: Settings, cwd: string, faults: string[]): DeploymentsConfig {
  const { GATEHOUSE_CONFIG: path } = settings;
  const file = path === undefined ? { sections: {}, faults: [] } : readConfigFile(resolve(cwd, path));
  faults.push(...file.faults);
  const places = { home: resolve(cwd, settings.GATEHOUSE_HOME), cwd };
  const before = faults.length;
  const deployments = toDeploymentsConfig(file.sections, places, faults);
  if (faults.length > before) return deployments;
  const names = deployments.regions.map(({ name }) => name);
  for (const name of servedRegions(settings, names).filter((one) => !names.includes(one))) {
    faults.push(`GATEHOUSE_REGIONS names ${name}, which is no region; there are ${names.join(", ")}`);
  }
  return deployments;
}

/** Of those that there are a worker serves all, or those that it is told, or none. */
function servedRegions({ GATEHOUSE_REGIONS: told }: Settings, names: readonly string[]): readonly string[] {
  if (told === undefined) return Object.freeze([...names]);
  return told.trim() === NO_REGION ? [] : list(told);
}

function toConfig(settings: Settings, cwd: string, deployments: DeploymentsConfig): Config {
  const absolute = (path: string): string => (isAbsolute(path) ? path : resolve(cwd, path));
  const home = absolute(settings.GATEHOUSE_HOME);
  const embedded = settings.DATABASE_URL === undefined;
  return Object.freeze({
    port: settings.PORT,
    host: settings.HOST,
    publicUrl: (settings.PUBLIC_URL ?? `http://localhost:${settings.PORT}`).replace(/\/+$/, ""),
    databaseUrl: settings.DATABASE_URL ?? null,
    redisUrl: settings.REDIS_URL ?? null,
    masterKey: settings.GATEHOUSE_MASTER_KEY ?? null,
    oldMasterKeys: settings.GATEHOUSE_MASTER_KEY_OLD,
    home,
    filesRoot: settings.FILES_ROOT === undefined ? resolve(home, "files") : absolute(settings.FILES_ROOT),
    blobsRoot: settings.BLOBS_ROOT === undefined ? resolve(home, "blobs") : absolute(settings.BLOBS_ROOT),
    importLimitBytes: settings.IMPORT_LIMIT_MIB * 1024 ** 2,
    deployments,
    metricsPort: settings.METRICS_PORT ?? null,
    metricsHost: settings.METRICS_HOST,
    otlpEndpoint: settings.OTEL_EXPORTER_OTLP_ENDPOINT ?? null,
    corsOrigins: list(settings.CORS_ORIGINS),
    trustProxy: list(settings.TRUST_PROXY),
    allowSignUp: settings.ALLOW_SIGNUP,
    sessionSameSite: settings.SESSION_SAMESITE,
    sessionLifetimeMs: settings.SESSION_LIFETIME_HOURS * HOUR_MS,
    sessionIdleMs: settings.SESSION_IDLE_HOURS * HOUR_MS,
    bootstrapClientId: settings.BOOTSTRAP_CLIENT_ID ?? null,
    bootstrapClientSecret: settings.BOOTSTRAP_CLIENT_SECRET ?? null,
    // One machine alone: the stores of its user are on it. Anywhere else the operator says so.
    outboundAllow:
      settings.OUTBOUND_ALLOW === undefined ? (embedded ? ["loopback"] : []) : list(settings.OUTBOUND_ALLOW),
    limits: Object.freeze({
      requests: settings.RATE_LIMIT_REQUESTS,
      failures: settings.RATE_LIMIT_FAILURES,
      tokensPerClient: settings.RATE_LIMIT_TOKENS_PER_CLIENT,
      tokensPerAddress: settings.RATE_LIMIT_TOKENS_PER_ADDRESS,
    }),
    operationRetentionDays: settings.OPERATION_RETENTION_DAYS,
    runRetentionDays: settings.RUN_RETENTION_DAYS,
    auditRetentionDays: settings.AUDIT_RETENTION_DAYS,
    webhookRetentionDays: settings.WEBHOOK_RETENTION_DAYS,
    rotateKeysDays: settings.ROTATE_KEYS_DAYS,
    logLevel: settings.LOG_LEVEL,
    workerConcurrency: settings.WORKER_CONCURRENCY,
    graceMs: settings.GATEHOUSE_GRACE_MS,
    drainMs: settings.DRAIN_SECONDS * 1_000,
    organizationConcurrency: settings.ORGANIZATION_CONCURRENCY,
    regions: servedRegions(
      settings,
      deployments.regions.map(({ name }) => name),
    ),
    timing: Object.freeze({
      leaseMs: settings.GATEHOUSE_LEASE_MS,
      heartbeatMs: settings.GATEHOUSE_HEARTBEAT_MS,
      sweepMs: settings.GATEHOUSE_SWEEP_MS,
    }),
  });
}

/** Everybody (0.0.0.0/0) is none: then anybody could choose the address that limits and the audit log go by. */
function isProxy(text: string): boolean {
  if (text === "loopback" || text === "private") return true;
  const [address = "", prefix, ...more] = text.split("/");
  const version = isIP(address);
  if (version === 0 || more.length > 0) return false;
  if (prefix === undefined) return true;
  const bits = Number(prefix);
  return /^\d{1,3}$/.test(prefix) && bits >= 1 && bits <= (version === 6 ? 128 : 32);
}

function list(text: string): readonly string[] {
  return Object.freeze(
    text
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== ""),
  );
}
