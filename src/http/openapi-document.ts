import { isSafe } from "./methods.js";

/** As much of a document as is looked at here. */
interface Document {
  readonly paths?: Record<string, Record<string, Route>>;
  readonly components?: { responses?: Responses; parameters?: Record<string, object> };
}

interface Route {
  readonly security?: readonly object[];
  parameters?: object[];
  readonly responses?: Responses;
}

type Responses = Record<string, Response>;

interface Response {
  description?: string;
  headers?: Record<string, object>;
  readonly content?: Readonly<Record<string, { readonly schema?: { readonly $ref?: string } }>>;
}

/** What swagger says of an answer that no schema describes. */
const UNSAID = "Default Response";
const MEANING: Readonly<Record<string, string>> = {
  200: "Done.",
  201: "Created.",
  202: "Accepted: the operation that `Location` names does it. The body is that operation.",
  204: "Done; there is nothing to say.",
};

const header = (description: string) => ({ description, schema: { type: "string" } });
const RETRY_AFTER = header("Seconds.");
const LOOK_AFTER = header(
  "Seconds, 1 to 30, until a look is worth while: what remains of the work, by its progress where that is measured, else by the median time of the last operations of its type that succeeded (of all organizations, at most a minute old). The wait for a free slot is not in it.",
);
const LOCATION = header("The operation: `/api/v1/operations/{id}`.");

/** Headers that every answer of a status has. */
const HEADERS: Readonly<Record<string, Record<string, object>>> = {
  202: { Location: LOCATION, "Operation-Location": LOCATION, "Retry-After": LOOK_AFTER },
  401: { "WWW-Authenticate": header("How to authenticate, and what was wrong (RFC 6750 section 3).") },
  403: { "WWW-Authenticate": header("The scopes that are needed (RFC 6750 section 3).") },
  429: { "Retry-After": RETRY_AFTER },
  503: { "Retry-After": RETRY_AFTER },
};

const IDEMPOTENCY_KEY = {
  ...{ name: "Idempotency-Key", in: "header" },
  description:
    "1 to 255 visible ASCII characters: the same request under the same key is done once, and its answer is given again for 24 hours; another request under it, such as one with another archive, is 422, and 409 while the first is in flight. Refusals are not kept: they have changed nothing.",
  schema: { type: "string", minLength: 1, maxLength: 255 },
  example: "8e03978e-40d5-43dd-bc93-6894a57f9324",
};

/** What a route may answer because of the header, where it does not answer so anyway. */
const OF_KEYS: readonly (readonly [status: string, name: string, description: string])[] = [
  [
    "409",
    "KeyInFlight",
    "A request with this `Idempotency-Key` is in flight, or was just answered: send it again.",
  ],
  ["422", "KeyOfAnother", "This `Idempotency-Key` was used for another request: take a new one."],
];

/** Lists the header, and its failures in the form of the route's others. */
function heedKeys(route: Route, shared: Responses): void {
  const { parameters = [], responses = {} } = route;
  route.parameters = [...parameters, { $ref: "#/components/parameters/IdempotencyKey" }];
  const [[media, { schema = {} }] = ["", {}]] = Object.entries(responses["400"]?.content ?? {});
  for (const [status, name, description] of OF_KEYS) {
    if (responses[status] !== undefined) continue;
    const component = `${schema.$ref?.split("/").at(-1)}${name}`;
    shared[component] = { description, content: { [media]: { schema } } };
    responses[status] = { $ref: `#/components/responses/${component}` } as Response;
  }
}

/**
 * Says what is the same for all routes once: the header that all heed that change something for a caller, meanings and
 * headers by status, and failures as components.
 */
export function finishDocument<T extends object>(document: T): T {
  const { paths = {}, components = {} } = document as Document;
  const shared: Responses = {};
  components.parameters = { ...components.parameters, IdempotencyKey: IDEMPOTENCY_KEY };
  for (const item of Object.values(paths)) {
    for (const [method, route] of Object.entries(item)) {
      const { security = [], responses = {} } = route;
      if (security.length > 0 && !isSafe(method.toUpperCase())) heedKeys(route, shared);
      for (const [status, response] of Object.entries(responses)) {
        if ("$ref" in response) continue;
        finish(status, response);
        const name = nameOf(status, response);
        if (name === null) continue;
        shared[name] ??= response;
        // A component's name stands for one answer; a route that answers otherwise keeps its own.
        if (JSON.stringify(shared[name]) === JSON.stringify(response)) {
          responses[status] = { $ref: `#/components/responses/${name}` } as Response;
        }
      }
    }
  }
  components.responses = Object.fromEntries(Object.entries(shared).sort(([a], [b]) => (a < b ? -1 : 1)));
  return document;
}

function finish(status: string, response: Response): void {
  if (response.description === UNSAID) response.description = MEANING[status] ?? UNSAID;
  const headers = { ...HEADERS[status], ...response.headers };
  if (Object.keys(headers).length > 0) response.headers = headers;
}

/** `Problem404` for a failure whose only schema is the component Problem; null for what is no shared failure. */
function nameOf(status: string, { content = {} }: Response): string | null {
  const [media, ...others] = Object.values(content);
  const schema = media?.schema?.$ref?.split("/").at(-1);
  return Number(status) >= 400 && others.length === 0 && schema !== undefined ? `${schema}${status}` : null;
}
