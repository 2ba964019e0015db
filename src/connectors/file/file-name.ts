import { createHash } from "node:crypto";

/** File names may have 255 bytes on every usual file system; the rest is left for what tools append. */
const MAX_BYTES = 200;

/**
 * The file of a stream: its name, with what file systems and shells take amiss replaced by `_`. A name that is
 * too long is cut and gets a part of its hash, so that names that differ only at their end stay apart.
 */
export function fileNameOf(stream: string, extension: string): string {
  const safe = stream
    .normalize("NFC")
    .replace(/[\p{Cc}\p{Cf}\p{Cs}/\\:*?"<>|]/gu, "_")
    .replace(/^\.+/, "_")
    .replace(/[. ]+$/, "_");
  return `${cut(safe === "" ? "_" : safe)}.${extension}`;
}

function cut(name: string): string {
  if (Buffer.byteLength(name) <= MAX_BYTES) return name;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 16);
  let kept = "";
  let bytes = 0;
  for (const character of name) {
    bytes += Buffer.byteLength(character);
    if (bytes > MAX_BYTES - hash.length - 1) break;
    kept += character;
  }
  return `${kept}-${hash}`;
}
