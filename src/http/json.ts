import type { FieldError } from "../platform/errors.js";
import { isStorable } from "../platform/text.js";

/** Far more than any request needs; code that walks over values by recursion runs out of stack at some thousands. */
const MAX_DEPTH = 64;

/**
 * Looks for what no field of any request may hold: text that cannot be stored, nesting without end, members that
 * would set a prototype. Without recursion, since the value may be nested a hundred thousand times.
 */
export function faultOfValue(value: unknown, path: string): FieldError | null {
  const left: { value: unknown; path: string; depth: number }[] = [{ value, path, depth: 0 }];
  for (let item = left.pop(); item !== undefined; item = left.pop()) {
    const fault = faultOfOne(item.value, item.depth);
    if (fault !== null) return { path: item.path === "" ? "/" : item.path, message: fault };
    if (typeof item.value !== "object" || item.value === null) continue;
    for (const [name, member] of Object.entries(item.value)) {
      const memberPath = `${item.path}/${name}`;
      const wrong = faultOfName(name);
      if (wrong !== null) return { path: item.path === "" ? "/" : item.path, message: wrong };
      left.push({ value: member, path: memberPath, depth: item.depth + 1 });
    }
  }
  return null;
}

function faultOfOne(value: unknown, depth: number): string | null {
  if (depth > MAX_DEPTH) return `is nested deeper than ${MAX_DEPTH} levels`;
  if (typeof value === "string" && !isStorable(value)) return "contains NUL or broken Unicode";
  return null;
}

function faultOfName(name: string): string | null {
  if (name === "__proto__") return "has a member __proto__";
  return isStorable(name) ? null : "has a member whose name contains NUL or broken Unicode";
}
