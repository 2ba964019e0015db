import type { FastifyRequest } from "fastify";

/** As much of a field's schema as says how its text is to be read. */
interface FieldSchema {
  readonly type?: string | readonly string[];
  readonly anyOf?: readonly FieldSchema[];
  readonly items?: FieldSchema;
}

const FORM = /^application\/x-www-form-urlencoded\b/i;

/**
 * A preValidation hook for dialects that take forms: everything in a form is text, so the fields that the route's
 * schema wants otherwise are read as booleans, numbers, JSON text or null. What cannot be read is left as it is,
 * for the validation to name. Bodies of any other kind stay as they came.
 */
export async function readForm(request: FastifyRequest): Promise<void> {
  const { body } = request;
  if (!FORM.test(request.headers["content-type"] ?? "") || typeof body !== "object" || body === null) return;
  const schema = request.routeOptions.schema?.body as
    | { readonly properties?: Readonly<Record<string, FieldSchema>> }
    | undefined;
  const fields = schema?.properties ?? {};
  request.body = Object.fromEntries(
    Object.entries(body).map(([name, value]) => [name, readField(value, fields[name])]),
  );
}

function readField(value: unknown, field: FieldSchema | undefined): unknown {
  const types = typesOf(field);
  // A name that comes once is a list of one, where a list is wanted.
  if (Array.isArray(value) || typeof value !== "string") return value;
  if (types.has("null") && value === "") return null;
  if (types.has("array")) return /^\s*\[/.test(value) ? parsed(value) : [value];
  if (types.has("object")) return parsed(value);
  if (types.has("boolean") && /^(true|false)$/.test(value)) return value === "true";
  const isNumber = /^-?\d{1,15}(\.\d+)?$/.test(value);
  return (types.has("integer") || types.has("number")) && isNumber ? Number(value) : value;
}

function typesOf(field: FieldSchema | undefined): ReadonlySet<string> {
  if (field === undefined) return new Set();
  return new Set([...[field.type ?? []].flat(), ...(field.anyOf ?? []).flatMap((one) => [...typesOf(one)])]);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
