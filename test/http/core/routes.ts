import type { FastifyInstance } from "fastify";

/** A JSON Schema as the OpenAPI document has it, as far as it is looked at here. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema?: Schema;
}

interface DocumentedRoute {
  readonly operationId?: string;
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentedRoute>>>>;
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> };
}

/** A registered route, as the document that the app makes of itself describes it. */
export interface Route {
  /** `GET /api/v1/jobs/{id}`. */
  readonly name: string;
  readonly method: string;
  /** With `{name}` for parameters. */
  readonly path: string;
  readonly pathParameters: readonly string[];
  readonly queryParameters: readonly string[];
  /** What is required of a query, such as `?type=x`; else empty. */
  readonly query: string;
  /** Null: the route answers everybody. */
  readonly scopes: readonly string[] | null;
  /** A body with what is required and nothing else; undefined where the route takes none. */
  readonly body: unknown;
  readonly bodySchema: Schema | undefined;
}

/** Every route that the app has. */
export function routesOf(app: FastifyInstance): Route[] {
  const document = app.swagger() as unknown as Document;
  const resolve = (schema: Schema): Schema => {
    const name = schema.$ref?.split("/").at(-1);
    return name === undefined ? schema : (document.components?.schemas?.[name] ?? {});
  };
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, route]): Route => {
      const named = (place: string): string[] =>
        (route.parameters ?? []).filter((one) => one.in === place).map(({ name }) => name);
      const [content] = Object.values(route.requestBody?.content ?? {});
      const bodySchema = content === undefined ? undefined : resolve(content.schema);
      return {
        name: `${method.toUpperCase()} ${path}`,
        method: method.toUpperCase(),
        path,
        pathParameters: [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? ""),
        queryParameters: named("query"),
        query: queryOf(route.parameters ?? [], resolve),
        scopes: (route.security ?? []).find((each) => "oauth2" in each)?.["oauth2"] ?? null,
        body: bodySchema === undefined ? undefined : example(bodySchema, resolve),
        bodySchema,
      };
    }),
  );
}

function queryOf(parameters: readonly Parameter[], resolve: (schema: Schema) => Schema): string {
  const needed = parameters.filter((one) => one.in === "query" && one.required === true);
  const values = needed.map(({ name, schema }): [string, string] => {
    const value = example(schema ?? {}, resolve);
    return [name, typeof value === "string" ? value : JSON.stringify(value)];
  });
  return values.length === 0 ? "" : `?${new URLSearchParams(values)}`;
}

/** The smallest value that a schema accepts, as far as it can be told. */
function example(schema: Schema, resolve: (schema: Schema) => Schema): unknown {
  const { type, enum: values, anyOf, properties = {}, required = [] } = resolve(schema);
  if (values !== undefined) return values[0];
  if (anyOf !== undefined) {
    const structured = anyOf.find((each) => resolve(each).type === "object") ?? anyOf[0] ?? {};
    return example(structured, resolve);
  }
  switch (type) {
    case "object":
      return Object.fromEntries(required.map((name) => [name, example(properties[name] ?? {}, resolve)]));
    case "array":
      return [];
    case "boolean":
      return true;
    case "integer":
    case "number":
      return 1;
    default:
      return "x";
  }
}

/** The path of a request, with these values for its parameters and what its query requires. */
export function pathWith(route: Route, values: Readonly<Record<string, string>>): string {
  const path = route.path.replace(/\{(\w+)\}/g, (_whole, name: string) => values[name] ?? `no-${name}`);
  return `${path}${route.query}`;
}
