import type { Dialect } from "../dialect.js";

/** The first part of its paths below `/api/v1`, many and one. */
const PATHS: ReadonlySet<string> = new Set([
  ...["apps", "app", "sources", "source", "properties", "property", "schedules", "schedule"],
  ...["runs", "run", "records", "record", "destinations", "destination"],
  ...["apiKeys", "apiKey", "permissions"],
]);

/** The topics API: `{error: {code, message}}`, epoch milliseconds, lists by `limit` and `offset`. */
export const topicsDialect: Dialect = {
  name: "topics",
  owns: (path) => path.startsWith("/api/v1/") && PATHS.has(path.split("/", 4)[3] ?? ""),
  errorType: "application/json; charset=utf-8",
  fail: ({ error, requestId }) => ({
    error: {
      ...error.details,
      code: error.code,
      message: error.message,
      requestId,
      ...(error.errors.length === 0 ? {} : { errors: error.errors }),
    },
  }),
};
