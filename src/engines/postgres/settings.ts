import { createHmac } from "node:crypto";
import type { Credentials, Observed } from "../engine.js";

/** Gatehouse's own account in every server: a superuser, and for the socket in the place alone. */
export const ADMIN = "gatehouse";
/** The database that Gatehouse's own account uses. */
export const ADMIN_DATABASE = "postgres";
/**
 * What tools dump and load as: a member of the customer's role, and of nothing else, so that neither the customer's own
 * sessions nor a hold keep them out.
 */
export const LOADER = "gatehouse_loader";
/** Where the server's files are in the volume. */
export const CLUSTER = "cluster";

const MIB = 1024 ** 2;
/** For Gatehouse itself: health, dumps, restores. */
const RESERVED = 6;

/** What the plan means for the server. Shared memory and sessions need a restart. */
export function limitsOf({ plan, place: { limits } }: Pick<Observed, "plan" | "place">) {
  const { memoryBytes } = limits;
  return {
    connections: plan.connections,
    maxConnections: plan.connections + RESERVED,
    /** In MiB. */
    sharedBuffers: Math.max(16, Math.floor(memoryBytes / 4 / MIB)),
    /** In KiB. */
    workMemory: Math.max(1_024, Math.floor(memoryBytes / 4 / plan.connections / 1_024)),
    /** In MiB. */
    maintenanceMemory: Math.max(16, Math.floor(memoryBytes / 16 / MIB)),
    /** In MiB: what one session's temporary files may take, and the log of changes. */
    temporaryFiles: Math.max(64, Math.floor(limits.storageBytes / 4 / MIB)),
    logOfChanges: Math.max(64, Math.min(1_024, Math.floor(limits.storageBytes / 8 / MIB))),
  };
}

/**
 * postgresql.conf (https://www.postgresql.org/docs/15/runtime-config.html). Durable: fsync and synchronous_commit are
 * as the server has them by default.
 */
export function configuration(observed: Observed): string {
  const limits = limitsOf(observed);
  const { place } = observed;
  return `# Written by Gatehouse at each start.
listen_addresses = '${place.listen.join(",")}'
port = ${place.port}
unix_socket_directories = '${place.socketFolder}'
unix_socket_permissions = 0700
max_connections = ${limits.maxConnections}
superuser_reserved_connections = ${RESERVED - 1}
password_encryption = 'scram-sha-256'
shared_buffers = '${limits.sharedBuffers}MB'
work_mem = '${limits.workMemory}kB'
maintenance_work_mem = '${limits.maintenanceMemory}MB'
temp_file_limit = '${limits.temporaryFiles}MB'
max_wal_size = '${limits.logOfChanges}MB'
min_wal_size = '${Math.min(80, limits.logOfChanges)}MB'
max_worker_processes = 4
max_parallel_workers = 2
wal_level = minimal
max_wal_senders = 0
jit = off
# The server's log is Gatehouse's: no statements, which may hold data and passwords.
log_statement = 'none'
log_min_messages = 'warning'
log_min_error_statement = 'panic'
log_min_duration_statement = -1
log_timezone = 'UTC'
timezone = 'UTC'
`;
}

/**
 * pg_hba.conf (https://www.postgresql.org/docs/15/auth-pg-hba-conf.html): clients reach their database alone, by
 * password; Gatehouse comes through the socket, which is closed to everybody else.
 */
export function access({ credentials: { username } }: Observed): string {
  return `# Written by Gatehouse at each start.
local all ${ADMIN} scram-sha-256
local ${username},${ASIDE} ${LOADER} scram-sha-256
host ${username} ${username} 0.0.0.0/0 scram-sha-256
host ${username} ${username} ::/0 scram-sha-256
`;
}

/** The database that is loaded, and the one that was replaced, until they are renamed or dropped. */
export const ASIDE = "gatehouse_incoming";
export const REPLACED = "gatehouse_outgoing";

/** Of the loader: of no use for anything else, should a tool ever tell it. */
export function loaderPassword({ adminSecret }: Pick<Credentials, "adminSecret">): string {
  return createHmac("sha256", adminSecret).update(LOADER).digest("hex");
}
