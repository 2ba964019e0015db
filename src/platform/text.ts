/** What PostgreSQL stores in no text: NUL and halves of UTF-16 pairs. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;
const EACH_UNSTORABLE = new RegExp(UNSTORABLE, "gu");

/** Whether PostgreSQL can store a text as it is. */
export function isStorable(text: string): boolean {
  return !UNSTORABLE.test(text);
}

/** A text as PostgreSQL can store it: with U+FFFD in place of what it cannot. */
export function toStorable(text: string): string {
  return text.replace(EACH_UNSTORABLE, "\ufffd");
}
