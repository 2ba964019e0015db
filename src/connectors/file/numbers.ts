// Leading zeros and a leading + make a string: zip codes and telephone numbers are no numbers.
export const INTEGER = /^(?:0|-?[1-9]\d*)$/;
export const DECIMAL = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;
/** A number as JSON writes it. */
export const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
export const SPECIAL = /^(?:NaN|-?Infinity)$/;

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

/** True for a whole number of at most 64 bits; digits are counted first, since BigInt of megabytes takes minutes. */
export function isInt64(text: string): boolean {
  if (text.length > 20) return false;
  const value = BigInt(text);
  return value >= MIN_INT64 && value <= MAX_INT64;
}

export function significantDigits(text: string): number {
  return text.replace(/^-?0*\.?0*|\./g, "").length;
}

const QUOTE = 34;
const BACKSLASH = 92;
const MAY_DIFFER = /\d[.eE]|\d{16}/;

/**
 * The numbers at the top level of a JSON object that JavaScript would not give back as they are written
 * (12345678901234567890, 1.10), by key; null where there are none. JSON.parse tells the text of a number only
 * from Node 21 on, hence this scan. The line has been parsed already, so only its structure is followed.
 */
export function exactNumbers(line: string): ReadonlyMap<string, string> | null {
  if (!MAY_DIFFER.test(line)) return null;
  const exact = new Map<string, string>();
  let depth = 0;
  let key = "";
  let inValue = false;
  for (let i = 0; i < line.length; i += 1) {
    const c = line.charCodeAt(i);
    if (c === QUOTE) {
      const end = endOfString(line, i + 1);
      if (depth === 1 && !inValue) key = keyOf(line.slice(i, end + 1));
      i = end;
    } else if (c === 123 || c === 91) {
      depth += 1;
    } else if (c === 125 || c === 93) {
      depth -= 1;
    } else if (depth === 1 && c === 58) {
      inValue = true;
      // Of a key that stands twice the last value counts.
      exact.delete(key);
    } else if (depth === 1 && c === 44) {
      inValue = false;
    } else if (depth === 1 && (c === 45 || (c >= 48 && c <= 57))) {
      const end = endOfNumber(line, i + 1);
      const text = line.slice(i, end);
      if (String(Number(text)) !== text) exact.set(key, text);
      i = end - 1;
    }
  }
  return exact.size === 0 ? null : exact;
}

function keyOf(quoted: string): string {
  return quoted.includes("\\") ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
}

function endOfString(line: string, from: number): number {
  let end = line.indexOf('"', from);
  while (end >= 0 && isEscaped(line, end, from)) end = line.indexOf('"', end + 1);
  return end < 0 ? line.length : end;
}

function isEscaped(line: string, at: number, from: number): boolean {
  let start = at;
  while (start > from && line.charCodeAt(start - 1) === BACKSLASH) start -= 1;
  return (at - start) % 2 === 1;
}

function endOfNumber(line: string, from: number): number {
  let end = from;
  for (; end < line.length; end += 1) {
    const c = line.charCodeAt(end);
    const partOfNumber = (c >= 48 && c <= 57) || c === 43 || c === 45 || c === 46 || c === 69 || c === 101;
    if (!partOfNumber) break;
  }
  return end;
}
