import type { Runtime } from "./runtime.js";

/** Addresses that no connector may reach: the control plane's own database and queue. */
export function forbiddenAddresses(runtime: Pick<Runtime, "config" | "databaseUrl">) {
  const database = new URL(runtime.databaseUrl);
  const own = {
    host: database.hostname,
    port: Number(database.port || 5432),
    database: decodeURIComponent(database.pathname.slice(1)),
  };
  if (runtime.config.redisUrl === null) return [own];
  const redis = new URL(runtime.config.redisUrl);
  return [own, { host: redis.hostname, port: Number(redis.port || 6379) }];
}
