import type { ErrorCode } from "../platform/errors.js";

/** Which status each failure has over HTTP: exhaustive by type. */
export const STATUS: Readonly<Record<ErrorCode, number>> = {
  invalid_request: 400,
  unauthenticated: 401,
  forbidden: 403,
  insufficient_scope: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  unprocessable: 422,
  rate_limited: 429,
  unavailable: 503,
  internal: 500,
};

/** The failure that a status found in a framework error stands for. */
export function codeOf(status: number): ErrorCode {
  const found = Object.entries(STATUS).find(([, value]) => value === status);
  if (found !== undefined) return found[0] as ErrorCode;
  return status >= 400 && status < 500 ? "invalid_request" : "internal";
}
