/**
 * What can go wrong, in words of the domain. Dialects turn a code into a status (`http/status.ts`); the domain
 * knows no HTTP.
 */
export type ErrorCode =
  | "invalid_request"
  | "unauthenticated"
  | "forbidden"
  | "insufficient_scope"
  | "not_found"
  | "method_not_allowed"
  | "conflict"
  | "payload_too_large"
  | "unsupported_media_type"
  | "unprocessable"
  | "rate_limited"
  | "unavailable"
  | "internal";

/** One fault of an input: where it is (a JSON pointer) and what would be right. */
export interface FieldError {
  readonly path: string;
  readonly message: string;
}

export interface AppErrorOptions {
  /** Faults of single fields. */
  readonly errors?: readonly FieldError[];
  /** Facts for the dialect: the blocking operation, the scope that is missing, seconds to wait. */
  readonly details?: Readonly<Record<string, string | number>>;
  /** What really happened: logged, never answered. */
  readonly cause?: unknown;
}

/** An expected failure with a message that is safe to answer. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly errors: readonly FieldError[];
  readonly details: Readonly<Record<string, string | number>>;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AppError";
    this.code = code;
    this.errors = options.errors ?? [];
    this.details = options.details ?? {};
  }
}

/** The resource does not exist, or the caller may not know that it does. */
export function notFound(what: string): AppError {
  return new AppError("not_found", `${what} not found`);
}

export function invalid(message: string, errors: readonly FieldError[] = []): AppError {
  return new AppError("invalid_request", message, { errors });
}

export function conflict(message: string, details: Readonly<Record<string, string | number>> = {}): AppError {
  return new AppError("conflict", message, { details });
}

/** The same may work soon. */
export function databaseAway(cause: unknown): AppError {
  return new AppError("unavailable", "the database is away for a moment: try again", { cause });
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
