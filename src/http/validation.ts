import { Ajv } from "ajv";
import formats from "ajv-formats";
import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { invalid } from "../platform/errors.js";
import { faultOfValue } from "./json.js";

// Keywords of OpenAPI and of our own that say nothing about validity.
const SETTINGS = { allErrors: true, strict: false, removeAdditional: false, useDefaults: true } as const;

/** How the parts of a request are called in the paths of errors; a body's own paths stand alone. */
const PARTS: Readonly<Record<string, string>> = {
  body: "",
  params: "/params",
  querystring: "/query",
  headers: "/headers",
};

/** Where a part of a request stands in the paths of errors. */
export function pathOfPart(part: string): string {
  return PARTS[part] ?? `/${part}`;
}

/**
 * What is wrong with a query that is not percent-encoded UTF-8: the parser would take it as it stands, for something
 * nobody sent.
 */
function faultOfQuery(url: string): Error | undefined {
  const query = url.slice(url.indexOf("?") + 1);
  if (query === url || !query.includes("%")) return undefined;
  try {
    decodeURIComponent(query);
    return undefined;
  } catch {
    return invalid("the query is not percent-encoded UTF-8", [
      { path: "/query", message: "is not percent-encoded UTF-8" },
    ]);
  }
}

/** Bodies are taken as they are; what comes as text (queries, paths, headers) is turned into numbers and so on. */
export const validationPlugin = fp(
  async (app: FastifyInstance) => {
    const exact = new Ajv({ ...SETTINGS, coerceTypes: false });
    const coerced = new Ajv({ ...SETTINGS, coerceTypes: "array" });
    app.addHook("preValidation", (request, _reply, done) => done(faultOfQuery(request.url)));
    for (const ajv of [exact, coerced]) formats.default(ajv, ["date-time", "uuid", "uri", "email"]);
    app.setValidatorCompiler(({ schema, httpPart }) => {
      const validate = (httpPart === "body" ? exact : coerced).compile(schema);
      const part = pathOfPart(httpPart ?? "body");
      return (data: unknown) => {
        const fault = faultOfValue(data, part);
        if (fault !== null) return { error: invalid(`${fault.path} ${fault.message}`, [fault]) };
        return validate(data) || { error: validate.errors ?? [] };
      };
    });
  },
  { name: "validation" },
);
