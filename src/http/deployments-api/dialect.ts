import type { Dialect } from "../dialect.js";

const PREFIXES = ["/deployments", "/databases", "/organizations/api-clients"];

/** The deployments API: plain objects, `{error}`, dates of RFC 7231. The token path has the errors of RFC 6749. */
export const deploymentsDialect: Dialect = {
  name: "deployments",
  owns: (path) => PREFIXES.some((prefix) => path === prefix || path.startsWith(`${prefix}/`)),
  errorType: "application/json; charset=utf-8",
  fail: ({ error, requestId }) => ({
    ...error.details,
    error: error.message,
    code: error.code,
    requestId,
    ...(error.errors.length === 0 ? {} : { errors: error.errors }),
  }),
};
