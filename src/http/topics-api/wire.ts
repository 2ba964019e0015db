import { type Static, Type } from "typebox";
import { invalid } from "../../platform/errors.js";
import { MAX_LIMIT } from "../pagination.js";
import { failures, GUARDED } from "../schemas/common.js";
import { topicsDialect } from "./dialect.js";

/** Errors of the topics API. */
export const Failure = Type.Object(
  {
    error: Type.Object(
      {
        code: Type.String({ description: "Stable; for programs." }),
        message: Type.String(),
        requestId: Type.String(),
      },
      { additionalProperties: true },
    ),
  },
  { $id: "TopicsFailure" },
);

export function topicsFailures(...more: (409 | 429)[]) {
  return failures({ $ref: "TopicsFailure#" }, topicsDialect, [...GUARDED, ...more]);
}

/** Milliseconds since 1970, as the dialect renders every time. */
export const Millis = Type.Integer({ description: "Milliseconds since 1970." });
export const NullableMillis = Type.Union([Millis, Type.Null()]);

const DEFAULT_LIMIT = 100;
/** Further down costs too much; who wants everything takes the core API's cursors. */
const MAX_OFFSET = 10_000;

/** Paging of every list. */
export const ListQuery = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_OFFSET, default: 0 })),
  order: Type.Optional(
    Type.String({
      maxLength: 200,
      description: '`name`, `name:desc`, or several as JSON text: `[["name","desc"]]`.',
    }),
  ),
});

/** What a list query asks for. Throws an invalid request where the order names a field that does not sort. */
export function toPage<Field extends string>(
  { limit = DEFAULT_LIMIT, offset = 0, order }: Static<typeof ListQuery>,
  fields: Readonly<Record<string, Field>>,
) {
  const pairs = order === undefined ? [] : pairsOf(order);
  const sorted = pairs.map(([name, direction]): readonly [Field, "asc" | "desc"] => {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    const down = direction.toLowerCase();
    if (field === undefined || (down !== "asc" && down !== "desc")) {
      const message = `must be ${Object.keys(fields).join(", ")}, each with :asc or :desc if wanted`;
      throw invalid(`order ${message}`, [{ path: "/query/order", message }]);
    }
    return [field, down];
  });
  return { limit, offset, order: sorted };
}

function pairsOf(order: string): [name: string, direction: string][] {
  const listed = order.trimStart().startsWith("[") ? fromJson(order) : order.split(",");
  return listed.map((each) => {
    const [name = "", direction = "asc"] = Array.isArray(each) ? each : String(each).split(":");
    return [String(name).trim(), String(direction).trim()];
  });
}

function fromJson(text: string): unknown[] {
  try {
    return JSON.parse(text) as unknown[];
  } catch {
    throw invalid("order is not valid JSON", [{ path: "/query/order", message: "is not valid JSON" }]);
  }
}
