import { type Static, type TSchema, Type } from "typebox";

export const Uuid = Type.String({ description: "UUID, with or without dashes." });
export const Timestamp = Type.String({ format: "date-time", description: "ISO 8601, UTC." });
export const NullableTimestamp = Type.Union([Timestamp, Type.Null()]);

/** RFC 9457. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    instance: Type.String(),
    code: Type.String({ description: "Stable; for programs." }),
    requestId: Type.String(),
    errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
  },
  { $id: "Problem", additionalProperties: true },
);
export type Problem = Static<typeof Problem>;

const MEANING: Readonly<Record<number, string>> = {
  400: "The request is malformed or fails validation; `errors` names each fault.",
  401: "No credentials, or they are not valid.",
  403: "The token lacks a scope that this route needs.",
  404: "It does not exist, or the caller may not know that it does.",
  409: "It conflicts with the present state; the answer names what is in the way.",
  413: "The body is larger than 1 MiB.",
  429: "Too many requests; `Retry-After` says when to come back.",
  503: "A part is away for a moment; `Retry-After` says when to come back.",
};

type Status = keyof typeof MEANING;

/** Error answers of a route, in the shape of its dialect. */
export function failures(schema: object, contentType: string, statuses: readonly Status[]) {
  return Object.fromEntries(
    [...statuses].map((status) => [
      status,
      { description: MEANING[status] ?? "Error", content: { [contentType]: { schema } } },
    ]),
  );
}

/** The statuses that any guarded route may answer. */
export const GUARDED = [400, 401, 403, 404, 413, 429, 503] as const;

/** Errors of the core API. */
export function problems(...more: readonly Status[]) {
  return failures({ $ref: "Problem#" }, "application/problem+json", [...GUARDED, ...more]);
}

/** A schema that is registered under its `$id`, as a reference: it stands once in the document. */
export function ref<T extends TSchema>(schema: T) {
  const { $id } = schema as { $id?: string };
  if ($id === undefined) throw new Error("only a schema with an $id can be referred to");
  return Type.Unsafe<Static<T>>({ $ref: `${$id}#` });
}
