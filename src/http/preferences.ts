/** One preference of the header `Prefer` (RFC 7240 section 2), without its parameters. */
export interface Preference {
  /** In lower case: case says nothing. */
  readonly name: string;
  /** Empty where there is none, which is the same. */
  readonly value: string;
}

/** A token (RFC 9110 section 5.6.2), and maybe a token or a quoted string as its value. */
const PREFERENCE = /^([!#$%&'*+.^_`|~\w-]+)(?:\s*=\s*(?:([!#$%&'*+.^_`|~\w-]*)|"((?:[^"\\]|\\.)*)"))?$/;

/** The preferences of a header, in order; what cannot be read is left out, and counts as not asked. */
export function parsePreferences(header: string): Preference[] {
  return splitUnquoted(header, ",").flatMap((text) => {
    const [main = ""] = splitUnquoted(text, ";");
    const [, name, word = "", quoted] = PREFERENCE.exec(main.trim()) ?? [];
    if (name === undefined) return [];
    return [{ name: name.toLowerCase(), value: quoted?.replace(/\\(.)/g, "$1") ?? word }];
  });
}

/** Splits at what stands in no quoted string (RFC 9110 section 5.6.4); one that is not closed goes on to the end. */
function splitUnquoted(text: string, separator: string): string[] {
  const parts: string[] = [];
  let begin = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') quoted = !quoted;
    else if (quoted && character === "\\") at += 1;
    else if (!quoted && character === separator) {
      parts.push(text.slice(begin, at));
      begin = at + 1;
    }
  }
  return [...parts, text.slice(begin)];
}
