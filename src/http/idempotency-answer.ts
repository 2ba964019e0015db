import type { FastifyReply } from "fastify";
import type { Answer, KeptAnswer } from "../operations/idempotency.js";
import { conflict } from "../platform/errors.js";

const KEPT_HEADERS = [
  "content-type",
  "cache-control",
  "location",
  "operation-location",
  "retry-after",
] as const;
/** A larger body is not kept; the answers of this API are some kilobytes. */
export const MAX_KEPT_BODY = 256 * 1024;
/** Members of answers that are shown once. */
const SECRET_NAME = /(secret|password|apikey|api_key|token)$/i;
/** How stored secrets are shown: nothing that has to be hidden. */
const MASK = /^\**$/;

/** What is kept of an answer that is about to be sent. */
export function toKeptAnswer(reply: FastifyReply, payload: unknown): KeptAnswer {
  const headers: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = reply.getHeader(name);
    if (value !== undefined) headers[name] = String(value);
  }
  const text = payload === null || payload === undefined ? null : String(payload);
  const body = text !== null && Buffer.byteLength(text) > MAX_KEPT_BODY ? null : text;
  const clean = body === null ? null : withoutSecrets(body);
  return { status: reply.statusCode, headers, body: clean, secretBody: clean === body ? null : body };
}

/** Repeats an answer. Throws a conflict where it was too large to be kept. */
export function repeat(reply: FastifyReply, { status, headers, body }: Answer): FastifyReply {
  if (body === null && headers["content-type"] !== undefined) {
    throw conflict("this request was done already; its answer was too large to be kept");
  }
  reply.code(status).headers(headers).header("idempotent-replayed", "true");
  // It is text already: neither a serializer nor an envelope comes on top.
  return body === null ? reply.send() : reply.serializer((text: string) => text).send(body);
}

/** A JSON text without the members that hold secrets; the very same text where there are none. */
export function withoutSecrets(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  let found = false;
  const clean = JSON.stringify(JSON.parse(text), (name: string, value: unknown) => {
    const isSecret = typeof value === "string" && SECRET_NAME.test(name) && !MASK.test(value);
    if (isSecret) found = true;
    return isSecret ? undefined : value;
  });
  return found ? clean : text;
}
