import type { FastifyReply } from "fastify";
import { Type } from "typebox";
import { encodeCursor } from "../pagination.js";
import { failures, GUARDED } from "../schemas/common.js";
import { deploymentsDialect } from "./dialect.js";

/** Errors of the deployments API. */
export const Failure = Type.Object(
  {
    error: Type.String({ description: "What went wrong." }),
    code: Type.String({ description: "Stable; for programs." }),
    requestId: Type.String(),
  },
  { $id: "DeploymentsFailure", additionalProperties: true },
);

export function deploymentsFailures(...more: 409[]) {
  return failures({ $ref: "DeploymentsFailure#" }, deploymentsDialect, [...GUARDED, ...more]);
}

/** How bodies may be sent. */
export const BODIES = ["application/json", "application/x-www-form-urlencoded"];

/** Of lists, for the document. */
export const NextPage = {
  Link: { type: "string", description: 'The next page, `rel="next"` (RFC 8288).' },
} as const;

/** `Sun, 06 Nov 1994 08:49:37 GMT`. */
export const HttpDate = Type.String({
  description: "RFC 7231 section 7.1.1.1.",
  examples: ["Sun, 06 Nov 1994 08:49:37 GMT"],
});
export const NullableHttpDate = Type.Union([HttpDate, Type.Null()]);

export function toHttpDate(time: Date): string {
  return time.toUTCString();
}

/**
 * Paging of a bare array: where the client asked for a limit and there is more, a `Link` header leads to the next
 * page (RFC 8288).
 * @param rows read with one more than the limit
 */
export function linkNextPage<T extends { readonly id: string }>(
  requestUrl: string,
  reply: FastifyReply,
  rows: readonly T[],
  limit: number,
): T[] {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  if (rows.length > limit && last !== undefined) {
    const url = new URL(requestUrl, "http://localhost");
    url.searchParams.set("cursor", encodeCursor(last.id));
    reply.header("link", `<${url.pathname}${url.search}>; rel="next"`);
  }
  return items;
}
