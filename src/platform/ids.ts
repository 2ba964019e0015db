import { randomBytes, randomFillSync } from "node:crypto";
import { v7 } from "uuid";

/** Random bytes for so many ids are fetched at once: a fetch costs ten times as much as all else of an id. */
const IDS = 256;
const ID_BYTES = 16;
const random = new Uint8Array(IDS * ID_BYTES);
const view = new DataView(random.buffer);
let used = random.length;
let last = { msecs: 0, seq: 0 };

/** A new UUIDv7 (RFC 9562 section 5.7): dashed, ordered by time of creation. */
export function newId(): string {
  if (used === random.length) {
    randomFillSync(random);
    used = 0;
  }
  const from = used;
  used += ID_BYTES;
  const now = Date.now();
  // Ids of one millisecond count on, from where chance began (section 6.2, method 1).
  last =
    now > last.msecs
      ? { msecs: now, seq: view.getUint32(from) >>> 1 }
      : { msecs: last.msecs, seq: last.seq + 1 };
  return v7({ ...last, random: random.subarray(from, used) });
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
