import type { ErrorCode } from "../../platform/errors.js";
import type { Dialect } from "../dialect.js";

const PEOPLE = /^\/(login|signup|logout|auth(\/password)?)\/?$/;

/** The sentences of the text; every other failure has one of its own that says what to do. */
const SENTENCES: Readonly<Partial<Record<ErrorCode, string>>> = {
  unauthenticated: "Authentication required",
  forbidden: "Insufficient permissions",
  insufficient_scope: "Insufficient permissions",
  not_found: "Resource not found",
  internal: "Internal server error",
};

/** The project API: `{success, message, data}` for every answer, errors too. */
export const projectDialect: Dialect = {
  name: "project",
  owns: (path) => path.startsWith("/api/v1/project/") || PEOPLE.test(path),
  errorType: "application/json; charset=utf-8",
  fail: ({ error, requestId }) => {
    const detail = { code: error.code, detail: error.message, requestId };
    return {
      success: false,
      message: error.code === "invalid_request" ? "Bad request" : (SENTENCES[error.code] ?? error.message),
      data: null,
      error: { ...error.details, ...detail, ...(error.errors.length === 0 ? {} : { errors: error.errors }) },
    };
  },
};
