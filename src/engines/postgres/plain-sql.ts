import { Transform, type TransformCallback } from "node:stream";

const NEWLINE = 0x0a;
/** A longer one is no line of pg_dump's own. */
const LONGEST = 200;

/**
 * Leaves out the `\restrict` and `\unrestrict` of pg_dump (since CVE-2025-8714): the script is run under another such
 * key already, and psql refuses a second. The first stands before any statement, the other one repeats its key, so a
 * line of data is never taken for one.
 */
export class WithoutRestrict extends Transform {
  #rest: Buffer = Buffer.alloc(0);
  #inHead = true;
  #key: string | null = null;
  /** In the midst of a line that is too long to be of interest. */
  #passing = false;

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE, from); end !== -1; end = bytes.indexOf(NEWLINE, from)) {
      const line = bytes.subarray(from, end + 1);
      if (this.#passing || !this.#isLeftOut(line)) this.push(line);
      this.#passing = false;
      from = end + 1;
    }
    this.#rest = bytes.subarray(from);
    if (this.#passing || this.#rest.length > LONGEST) {
      this.#inHead = false;
      this.#passing = true;
      this.push(this.#rest);
      this.#rest = Buffer.alloc(0);
    }
    done();
  }

  override _flush(done: TransformCallback): void {
    if (this.#rest.length > 0 && (this.#passing || !this.#isLeftOut(this.#rest))) this.push(this.#rest);
    done();
  }

  #isLeftOut(line: Buffer): boolean {
    if (line.length > LONGEST) return false;
    if (!this.#inHead && (this.#key === null || line[0] !== 0x5c)) return false;
    const text = line.toString("latin1").trim();
    if (this.#key !== null) return text === `\\unrestrict ${this.#key}`;
    this.#key = /^\\restrict ([A-Za-z0-9]{1,128})$/.exec(text)?.[1] ?? null;
    if (this.#key !== null || (text !== "" && !text.startsWith("--"))) this.#inHead = false;
    return this.#key !== null;
  }
}
