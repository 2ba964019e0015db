import type { FastifyReply } from "fastify";
import { encodeCursor } from "../pagination.js";

/**
 * Paging of a bare array: where the client asked for a limit and there is more, a `Link` header leads to the next page
 * (RFC 8288).
 */
export function linkNextPage<T>(
  requestUrl: string,
  reply: FastifyReply,
  rows: readonly T[],
  limit: number | undefined,
  positionOf: (row: T) => number,
): T[] {
  if (limit === undefined || rows.length <= limit) return [...rows];
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  if (last !== undefined) {
    const url = new URL(requestUrl, "http://localhost");
    url.searchParams.set("cursor", encodeCursor(positionOf(last)));
    reply.header("link", `<${url.pathname}${url.search}>; rel="next"`);
  }
  return items;
}
