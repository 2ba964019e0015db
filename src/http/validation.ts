import { Ajv } from "ajv";
import formats from "ajv-formats";
import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";

// Keywords of OpenAPI and of our own that say nothing about validity.
const SETTINGS = { allErrors: true, strict: false, removeAdditional: false, useDefaults: true } as const;

/** Bodies are taken as they are; what comes as text (queries, paths, headers) is turned into numbers and so on. */
export const validationPlugin = fp(
  async (app: FastifyInstance) => {
    const exact = new Ajv({ ...SETTINGS, coerceTypes: false });
    const coerced = new Ajv({ ...SETTINGS, coerceTypes: "array" });
    for (const ajv of [exact, coerced]) formats.default(ajv, ["date-time", "uuid", "uri", "email"]);
    app.setValidatorCompiler(({ schema, httpPart }) =>
      (httpPart === "body" ? exact : coerced).compile(schema),
    );
  },
  { name: "validation" },
);
