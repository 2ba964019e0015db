import { MAX_COLUMNS, MAX_RECORD } from "./limits.js";

export interface CsvDialect {
  /** One character. */
  readonly delimiter: string;
  /** One character, or empty: no quoting at all. */
  readonly quote: string;
  /** What an unquoted field says that has no value. */
  readonly nullValue: string;
}

export interface CsvRecord {
  /** Line of the file on which the record starts, from 1. */
  readonly line: number;
  /** Null: unquoted and equal to the null value. A quoted field is never null. */
  readonly fields: readonly (string | null)[];
  /** Characters that the record takes. */
  readonly size: number;
  /** An empty line: a record of one field that has no value, or nothing at all. */
  readonly blank: boolean;
}

/** A fault of the text itself. */
export class CsvSyntaxError extends Error {
  readonly line: number;

  constructor(message: string, line: number) {
    super(message);
    this.line = line;
  }
}

const LF = 10;
const CR = 13;

/**
 * Splits text into records by RFC 4180, strictly: what could be read in two ways is an error with its line.
 *
 * Why not csv-parse: it tells whether a field was quoted (which is what parts null from the empty string) only
 * through its `cast` callback, which costs a factor of ten (3 instead of 30 MB/s); it counts a CRLF inside quotes
 * as two lines; and a line of nothing but delimiters makes it collect fields without a limit. The tests hold
 * this tokenizer against csv-parse.
 */
export class CsvTokenizer {
  readonly #delimiter: number;
  readonly #quote: number;
  readonly #quoteText: string;
  readonly #nullValue: string;
  /** Text of an unfinished record, and what came after it. */
  #parts: string[] = [];
  #waiting = 0;
  #retryAt = 0;
  #text = "";
  #at = 0;
  #final = false;
  #line = 1;
  /** Lines within the record at hand. */
  #extraLines = 0;

  constructor(dialect: CsvDialect) {
    this.#delimiter = dialect.delimiter.charCodeAt(0);
    this.#quote = dialect.quote === "" ? -1 : dialect.quote.charCodeAt(0);
    this.#quoteText = dialect.quote;
    this.#nullValue = dialect.nullValue;
  }

  /** The records that this piece of text completes. */
  push(text: string): CsvRecord[] {
    this.#parts.push(text);
    this.#waiting += text.length;
    // A long record is tried again only when its text has doubled: linear in all, whatever the pieces.
    return this.#waiting < this.#retryAt ? [] : this.#run();
  }

  /** The records that the end of the text completes. */
  end(): CsvRecord[] {
    this.#final = true;
    return this.#run();
  }

  #run(): CsvRecord[] {
    this.#text = this.#parts.length === 1 ? (this.#parts[0] ?? "") : this.#parts.join("");
    const records: CsvRecord[] = [];
    let start = 0;
    while (start < this.#text.length) {
      this.#at = start;
      const record = this.#record(start);
      if (record === null) break;
      records.push(record);
      start = this.#at;
    }
    const rest = this.#text.slice(start);
    if (rest.length > MAX_RECORD) this.#tooLong();
    this.#parts = rest === "" ? [] : [rest];
    this.#waiting = rest.length;
    this.#retryAt = Math.min(rest.length * 2, MAX_RECORD + 1);
    return records;
  }

  /** Reads one record from `#at`, which then stands behind it; null where its end is not there yet. */
  #record(start: number): CsvRecord | null {
    const fields: (string | null)[] = [];
    this.#extraLines = 0;
    for (;;) {
      const field = this.#text.charCodeAt(this.#at) === this.#quote ? this.#quoted() : this.#plain();
      if (field === undefined) return null;
      if (fields.length === MAX_COLUMNS) throw this.#error(`has more than ${MAX_COLUMNS} fields`);
      fields.push(field);
      if (this.#text.charCodeAt(this.#at) === this.#delimiter) {
        this.#at += 1;
        if (this.#at === this.#text.length && !this.#final) return null;
        continue;
      }
      const end = this.#at;
      if (!this.#lineEnd()) return null;
      return this.#finish(fields, start, end);
    }
  }

  #finish(fields: (string | null)[], start: number, end: number): CsvRecord {
    if (end - start > MAX_RECORD) this.#tooLong();
    const record = { line: this.#line, fields, size: end - start, blank: end === start };
    this.#line += this.#extraLines + 1;
    return record;
  }

  /** An unquoted field; undefined where the text ends before it does. */
  #plain(): string | null | undefined {
    const text = this.#text;
    const start = this.#at;
    let at = start;
    for (; at < text.length; at += 1) {
      const c = text.charCodeAt(at);
      if (c === this.#delimiter || c === LF || c === CR) break;
      if (c === this.#quote) {
        throw this.#error(
          `has a quote within a field that does not start with one; quote the whole field and double the quotes in it, or set "quote": "" where quotes are ordinary characters`,
        );
      }
    }
    if (at === text.length && !this.#final) return undefined;
    this.#at = at;
    const field = text.slice(start, at);
    return field === this.#nullValue ? null : field;
  }

  /** A quoted field; undefined where the text ends before it does. */
  #quoted(): string | undefined {
    const text = this.#text;
    const start = this.#at + 1;
    let end = text.indexOf(this.#quoteText, start);
    let doubled = false;
    while (end >= 0 && text.charCodeAt(end + 1) === this.#quote) {
      doubled = true;
      end = text.indexOf(this.#quoteText, end + 2);
    }
    if (end < 0 && this.#final) throw this.#error("opens a quote that is never closed");
    // The character behind the quote tells whether the field ends here.
    if (end < 0 || (end + 1 === text.length && !this.#final)) return undefined;
    this.#at = end + 1;
    this.#refuseTextBehindQuote();
    const field = text.slice(start, end);
    for (let lf = field.indexOf("\n"); lf >= 0; lf = field.indexOf("\n", lf + 1)) this.#extraLines += 1;
    return doubled ? field.replaceAll(this.#quoteText + this.#quoteText, this.#quoteText) : field;
  }

  #refuseTextBehindQuote(): void {
    const c = this.#text.charCodeAt(this.#at);
    if (c === this.#delimiter || c === LF || c === CR || this.#at === this.#text.length) return;
    throw this.#error("has text behind a closing quote; a quote within a quoted field is written twice");
  }

  /** Steps over the end of a line; false where the text ends before that is clear. */
  #lineEnd(): boolean {
    const text = this.#text;
    if (this.#at === text.length) return this.#final;
    if (text.charCodeAt(this.#at) === LF) {
      this.#at += 1;
      return true;
    }
    if (this.#at + 1 === text.length && !this.#final) return false;
    if (text.charCodeAt(this.#at + 1) === LF) {
      this.#at += 2;
      return true;
    }
    // At the very end of the file, the rest of a CRLF that was cut off.
    if (this.#at + 1 === text.length) {
      this.#at += 1;
      return true;
    }
    throw this.#error(
      "has a carriage return that ends no line; quote the field, or end lines with LF or CRLF",
    );
  }

  #tooLong(): never {
    throw this.#error(`is longer than ${MAX_RECORD} characters; is a quote left open?`);
  }

  #error(message: string): CsvSyntaxError {
    return new CsvSyntaxError(message, this.#line);
  }
}
