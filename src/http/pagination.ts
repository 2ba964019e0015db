import { Type } from "typebox";
import { invalid } from "../platform/errors.js";

export const MAX_LIMIT = 200;
export const DEFAULT_LIMIT = 50;

/** Paging of a list: `cursor` is what the page before gave. */
export const PageQuery = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: MAX_LIMIT, description: `At most ${MAX_LIMIT}.` }),
  ),
  cursor: Type.Optional(Type.String({ maxLength: 200, description: "From the page before." })),
};

/** The shape of a cursor of things that are listed by id. */
export const ID_POSITION = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A cursor says where the next page begins; clients treat it as opaque. */
export function encodeCursor(position: string | number | bigint): string {
  return Buffer.from(String(position)).toString("base64url");
}

/** Null where there is none. Throws an invalid request where it is not one of ours. */
export function decodeCursor(cursor: string | undefined, shape: RegExp): string | null {
  if (cursor === undefined) return null;
  const text = Buffer.from(cursor, "base64url").toString();
  if (!shape.test(text))
    throw invalid("cursor is not from an earlier page", [
      { path: "/query/cursor", message: "is not a cursor" },
    ]);
  return text;
}

/** One page of a list that was read with one row more than asked for. */
export function page<T>(rows: readonly T[], limit: number, positionOf: (row: T) => string | number) {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return {
    items,
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(positionOf(last)) : null,
  };
}
