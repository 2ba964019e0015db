import formbody from "@fastify/formbody";
import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { invalid } from "../platform/errors.js";

/**
 * How bodies are read: JSON where an empty body is no body (the texts send such requests), forms, and both on
 * GET too. Invalid UTF-8 and JSON are the client's faults, with their place.
 */
export const bodiesPlugin = fp(
  async (app: FastifyInstance) => {
    app.addHttpMethod("GET", { hasBody: true, overrideExisting: true });
    app.removeContentTypeParser(["application/json", "text/plain"]);
    // Members named __proto__ or constructor are refused, as Fastify's own parser does.
    const parse = app.getDefaultJsonParser("error", "error");
    app.addContentTypeParser(
      /^application\/(json|[a-z.+-]+\+json)\b/i,
      { parseAs: "buffer" },
      (request, body, done) => {
        const bytes = body as Buffer;
        if (bytes.length === 0) return done(null, undefined);
        const text = decode(bytes);
        if (text === null) return done(invalid("the body is not valid UTF-8"));
        parse(request, text, (error, value) => {
          done(error === null ? null : invalid(faultOf(text)), value);
        });
      },
    );
    await app.register(formbody);
  },
  { name: "bodies" },
);

function decode(bytes: Buffer): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** What is wrong with a body. The parser's own words are left out: they quote the body, which may hold a secret. */
function faultOf(text: string): string {
  try {
    JSON.parse(text);
    return "the body has a member __proto__ or constructor.prototype";
  } catch (error) {
    const { message } = error as Error;
    const place = /at position \d+/.exec(message)?.[0];
    const token = /^Unexpected token ('.'|.(?= ))/u.exec(message)?.[1];
    if (place !== undefined) return `the body is not valid JSON: the fault is ${place}`;
    return `the body is not valid JSON: ${token === undefined ? "it ends too early" : `${token} is not expected`}`;
  }
}

/** A preValidation hook: a GET's body counts as its query, as one of the texts sends it. */
export async function bodyAsQuery(request: FastifyRequest): Promise<void> {
  if (request.method !== "GET" || typeof request.body !== "object" || request.body === null) return;
  request.query = { ...(request.query as object), ...request.body };
}
