import { STATUS_CODES } from "node:http";
import type { Dialect } from "../dialect.js";

/** RFC 9457 problems; everything that no other dialect owns. */
export const coreDialect: Dialect = {
  name: "core",
  owns: (path) => path.startsWith("/api/v1/") || path === "/api/v1",
  errorType: "application/problem+json",
  fail: ({ error, status, requestId, path }) => ({
    ...error.details,
    type: `urn:gatehouse:error:${error.code.replaceAll("_", "-")}`,
    title: STATUS_CODES[status] ?? "Error",
    status,
    detail: error.message,
    instance: path,
    code: error.code,
    requestId,
    ...(error.errors.length === 0 ? {} : { errors: error.errors }),
  }),
};
