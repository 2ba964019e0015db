import { setFlagsFromString } from "node:v8";

/** How much larger than what is in use the heap may grow before it is swept. V8 allows up to four times as much. */
const GROWTH_PERCENT = 30;

/**
 * For a process through which rows pass: what a batch leaves behind is garbage at once, and V8 would let 200 MB of it
 * lie before it looks. Sweeping earlier keeps the process below 256 MiB and costs no time that can be measured. No
 * limit: what is really in use may be as much as ever. To be called first of all: it holds from the next sweep on, and
 * the first one comes late.
 */
export function growHeapSparingly(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
