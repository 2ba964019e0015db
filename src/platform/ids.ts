import { randomBytes } from "node:crypto";
import { v7 } from "uuid";

/** A new UUIDv7 (RFC 9562 section 5.7): dashed, ordered by time of creation. */
export function newId(): string {
  return v7();
}

const DASHED = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const PLAIN = /^[0-9a-f]{32}$/i;

/** The dashed lower-case form of a UUID given with or without dashes; null where the text is no UUID. */
export function parseId(text: string): string | null {
  if (DASHED.test(text)) return text.toLowerCase();
  if (!PLAIN.test(text)) return null;
  const hex = text.toLowerCase();
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** A secret of 256 random bits, URL-safe. */
export function newSecret(): string {
  return randomBytes(32).toString("base64url");
}
