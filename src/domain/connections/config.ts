import { isDeepStrictEqual } from "node:util";
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { AppError, type FieldError, invalid } from "../../platform/errors.js";

/** What stands for a secret in every answer; sent back, it keeps the stored one. */
export const MASK = "********";

export type Role = "source" | "destination";
export type Config = Readonly<Record<string, unknown>>;

/** A connector as the domain knows it: what its configuration has to look like. */
export interface ConnectorSpec {
  readonly type: string;
  readonly version: string;
  readonly schema: object;
  /** Names of the fields that are encrypted at rest and masked in answers. */
  readonly secretFields: readonly string[];
}

/** Port: the connectors of this installation. */
export interface ConnectorCatalog {
  /** Null where no such connector serves that role, in that version. */
  spec(role: Role, type: string, version: string): ConnectorSpec | null;
  /** Newest first; empty where no such connector serves that role. */
  versions(role: Role, type: string): readonly string[];
  types(role: Role): readonly string[];
}

const ajv = new Ajv({ allErrors: true, strict: false, useDefaults: true });
const validators = new WeakMap<object, ValidateFunction>();

function validatorOf(schema: object): ValidateFunction {
  let validate = validators.get(schema);
  if (validate === undefined) {
    validate = ajv.compile(schema);
    validators.set(schema, validate);
  }
  return validate;
}

/** Throws a fault that names every wrong field by path. */
export function checkConfig(spec: ConnectorSpec, config: Config): void {
  const validate = validatorOf(spec.schema);
  // Of a copy: the defaults are filled in while it is checked.
  if (validate(structuredClone(config))) return;
  const errors = (validate.errors ?? []).map(toFieldError);
  throw invalid(`config: ${errors.map((error) => `${error.path} ${error.message}`).join("; ")}`, errors);
}

/** What a configuration means: with the defaults of its connector. */
export function withDefaults(spec: ConnectorSpec, config: Config): Config {
  const filled = structuredClone(config);
  validatorOf(spec.schema)(filled);
  return filled;
}

function toFieldError(error: ErrorObject): FieldError {
  const base = `/config${error.instancePath}`;
  if (error.keyword === "required")
    return { path: `${base}/${error.params["missingProperty"]}`, message: "is required" };
  if (error.keyword === "additionalProperties") {
    return {
      path: `${base}/${error.params["additionalProperty"]}`,
      message: "is not a field of this connector",
    };
  }
  const allowed = error.keyword === "enum" ? `: ${JSON.stringify(error.params["allowedValues"])}` : "";
  return { path: base, message: `${error.message ?? "is wrong"}${allowed}` };
}

/** The parts of a configuration that are stored in clear and those that are encrypted. */
export function splitSecrets(spec: ConnectorSpec, config: Config): { open: Config; secret: Config } {
  const open: Record<string, unknown> = {};
  const secret: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(config)) {
    (spec.secretFields.includes(field) ? secret : open)[field] = value;
  }
  return { open, secret };
}

/** A configuration as answers show it. */
export function maskSecrets(open: Config, secretFields: readonly string[]): Config {
  return { ...open, ...Object.fromEntries(secretFields.map((field) => [field, MASK])) };
}

/** What was sent, with masked fields replaced by what is stored. Throws where nothing is stored for one. */
export function unmask(sent: Config, stored: Config, secretFields: readonly string[]): Config {
  const result: Record<string, unknown> = { ...sent };
  const errors: FieldError[] = [];
  for (const field of secretFields) {
    if (result[field] !== MASK) continue;
    if (stored[field] === undefined)
      errors.push({
        path: `/config/${field}`,
        message: "is masked, and no secret is stored that it could mean",
      });
    else result[field] = stored[field];
  }
  if (errors.length > 0)
    throw invalid("config: a masked secret stands for nothing: send the real one", errors);
  return result;
}

/** The same failure, of a part of a larger input. */
export function inPart(part: string, error: unknown): unknown {
  if (!(error instanceof AppError) || error.errors.length === 0) return error;
  const errors = error.errors.map(({ path, message }) => ({ path: `/${part}${path}`, message }));
  return new AppError(error.code, `${part}: ${error.message}`, { errors, details: error.details });
}

/** Whether two configurations mean the same. */
export function sameConfig(spec: ConnectorSpec, a: Config, b: Config): boolean {
  return isDeepStrictEqual(withDefaults(spec, a), withDefaults(spec, b));
}
