import type { Writable } from "node:stream";
import { styleText } from "node:util";

/** Where the demo prints: a terminal, or a file or pipe that gets plain lines. */
export interface Output extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const BAR_WIDTH = 30;
const MAX_LINES = 14;
const MAX_STRING = 72;

/** Prints headings, requests, answers and progress. */
export class Screen {
  readonly #out: Output;
  #step = 0;
  #lastPlain = "";
  #barIsOpen = false;

  constructor(out: Output) {
    this.#out = out;
  }

  line(text = ""): void {
    this.#out.write(`${text}\n`);
  }

  /** The next step, numbered. */
  step(title: string): void {
    this.#step += 1;
    this.line();
    this.line(this.#bold(`${this.#step}. ${title}`));
  }

  note(text: string): void {
    this.line(`   ${text}`);
  }

  command(text: string): void {
    this.line();
    for (const line of text.split("\n")) this.line(`   ${this.#bold(line)}`);
  }

  /** An answer: its status, headers worth knowing and its body, cut where it is long. */
  answer(status: string, headers: readonly string[], body: unknown): void {
    this.line(`   -> ${status}`);
    for (const header of headers) this.line(`      ${header}`);
    if (body === null || body === undefined) return;
    const lines = JSON.stringify(body, shorten, 2).split("\n");
    for (const line of lines.slice(0, MAX_LINES)) this.line(`      ${line}`);
    if (lines.length > MAX_LINES) this.line(`      ... ${lines.length - MAX_LINES} more lines`);
  }

  /** How far it is: a bar that moves in a terminal, else a line whenever something has changed. */
  progress(percent: number, message: string): void {
    const share = Math.max(0, Math.min(100, Math.round(percent)));
    const filled = Math.round((share / 100) * BAR_WIDTH);
    const bar = `[${"#".repeat(filled)}${".".repeat(BAR_WIDTH - filled)}]`;
    const text = `   ${bar} ${String(share).padStart(3)} %  ${message}`;
    if (this.#out.isTTY === true) {
      this.#barIsOpen = true;
      this.#out.write(`\r${text.slice(0, (this.#out.columns || 80) - 1)}\x1b[K`);
    } else if (text !== this.#lastPlain) {
      this.#lastPlain = text;
      this.line(text);
    }
  }

  /** Leaves the bar as it is; what comes next is printed below. */
  endProgress(): void {
    if (this.#barIsOpen) this.line();
    this.#barIsOpen = false;
    this.#lastPlain = "";
  }

  /** Only in a terminal that shows it (NO_COLOR and its like are heeded). */
  #bold(text: string): string {
    return styleText("bold", text, { stream: this.#out });
  }
}

function shorten(_key: string, value: unknown): unknown {
  return typeof value === "string" && value.length > MAX_STRING ? `${value.slice(0, MAX_STRING)}...` : value;
}
