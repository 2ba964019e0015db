import { ConnectorError } from "../connector.js";

/** What is being read, for messages. */
export interface Where {
  readonly stream: string;
  /** As the configuration names it: relative to the files root. */
  readonly path: string;
}

/** The errno name (`ENOENT`) of a failed system call, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Runs `action`; where what it names does not exist, gives `fallback`. */
export async function orIfMissing<T, F>(action: Promise<T>, fallback: F): Promise<T | F> {
  try {
    return await action;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return fallback;
    throw error;
  }
}

/** A fault of the configuration, with what would be right. */
export function configError(message: string, details: Record<string, string | number> = {}): ConnectorError {
  return new ConnectorError("invalid_config", message, { details });
}

/** A fault of a file's content. */
export function dataError(
  where: Where,
  message: string,
  details: Record<string, string | number> = {},
): ConnectorError {
  return new ConnectorError("invalid_data", `stream "${where.stream}" (${where.path}): ${message}`, {
    details: { stream: where.stream, path: where.path, ...details },
  });
}

/** A failed system call in words of the user; what is a ConnectorError already passes. */
export function storeError(error: unknown, path: string): unknown {
  const code = errnoOf(error);
  if (error instanceof ConnectorError || code === undefined) return error;
  const details = { path };
  switch (code) {
    case "ENOTDIR":
      return new ConnectorError(
        "not_found",
        `"${path}" does not exist below the files root: a part of it is no folder`,
        {
          details,
          cause: error,
        },
      );
    case "ENOENT":
      return new ConnectorError("not_found", `"${path}" does not exist below the files root`, {
        details,
        cause: error,
      });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new ConnectorError(
        "unauthorized",
        `the operating system refuses access to "${path}" (${code})`,
        {
          details,
          cause: error,
        },
      );
    case "ENOSPC":
    case "EDQUOT":
      return new ConnectorError("failed", `no space is left for "${path}" (${code})`, {
        details,
        cause: error,
      });
    default:
      if (!/^E[A-Z0-9]+$/.test(code)) return error;
      return new ConnectorError("failed", `"${path}" cannot be used (${code})`, { details, cause: error });
  }
}

/** Runs system calls on files; their failures name `path`. */
export async function onStore<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw storeError(error, path);
  }
}
