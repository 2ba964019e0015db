import type { FastifyRequest } from "fastify";
import type { AppError } from "../platform/errors.js";

/** What a failed request has to say, before a dialect gives it its shape. */
export interface Failure {
  readonly error: AppError;
  readonly status: number;
  readonly requestId: string;
  /** Path of the request, without its query (which may hold a key). */
  readonly path: string;
}

/** One of the published APIs, as far as it is not routes: data and pure functions. */
export interface Dialect {
  readonly name: "core" | "project" | "topics" | "runs" | "deployments";
  /** Whether a path is this dialect's. */
  owns(path: string): boolean;
  readonly errorType: string;
  fail(failure: Failure): object;
}

/** The dialect of a path: the first that owns it, else the last one given. */
export function dialectOf(dialects: readonly Dialect[], path: string): Dialect {
  const found = dialects.find((dialect) => dialect.owns(path)) ?? dialects.at(-1);
  if (found === undefined) throw new Error("no dialect is registered");
  return found;
}

/** The path of a request as it was sent, without its query (which may hold a key). */
export function sentPath({ url }: FastifyRequest): string {
  return url.split("?", 1)[0] ?? "/";
}

/**
 * The path that says which dialect a request is for: its route's, where it has one. The path as sent can spell the
 * same route in other ways (`/%61pi/v1`, `http://host/api/v1`, `/api/v1#`), and what a token may open, or what a
 * browser has to prove, must not depend on the spelling.
 */
export function routedPath(request: FastifyRequest): string {
  return request.routeOptions.url ?? sentPath(request);
}
