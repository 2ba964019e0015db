import { Type } from "typebox";
import { notFound } from "../../platform/errors.js";
import { decodeCursor } from "../pagination.js";

export const ProjectParams = Type.Object({
  projectid: Type.String({ maxLength: 200, description: "The project's slug, number or UUID." }),
});

export const ItemParams = Type.Object({
  ...ProjectParams.properties,
  // With room for the filter `source_id="2147483647"` in the place of a job's id.
  id: Type.String({ maxLength: 30, description: "Integer id." }),
});

/** Largest value of an integer id. */
export const MAX_NUMBER = 2_147_483_647;

/** The integer of a path; anything else names nothing. */
export function numberOf(text: string, what: string): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= 1 && number <= MAX_NUMBER)) throw notFound(what);
  return number;
}

/** Where a page of things with numbers begins. */
export function afterNumber(cursor: string | undefined): number | null {
  const text = decodeCursor(cursor, /^\d{1,9}$/);
  return text === null ? null : Number(text);
}
