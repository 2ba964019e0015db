import { expect, test } from "vitest";
import { prefersAsync } from "./prefer.js";
import { parsePreferences } from "./preferences.js";

const named = (header: string) => parsePreferences(header).map(({ name, value }) => [name, value]);

test("preferences are read in order, in any case, with or without values and parameters", () => {
  expect(named('respond-async, Wait = 50; x="1, 2" ,handling=lenient ;a;b=c')).toEqual([
    ["respond-async", ""],
    ["wait", "50"],
    ["handling", "lenient"],
  ]);
});

test("a comma or a semicolon in a quoted string separates nothing", () => {
  expect(named('foo="a, wait=5, b"')).toEqual([["foo", "a, wait=5, b"]]);
  expect(named('foo="a; b", wait=5')).toEqual([
    ["foo", "a; b"],
    ["wait", "5"],
  ]);
  expect(named('foo="say \\"a, wait=7\\" and \\\\", wait=5')).toEqual([
    ["foo", 'say "a, wait=7" and \\'],
    ["wait", "5"],
  ]);
});

test("an empty value is the same as none", () => {
  const none = [["respond-async", ""]];
  expect(named("respond-async")).toEqual(none);
  expect(named("respond-async=")).toEqual(none);
  expect(named('respond-async=""')).toEqual(none);
});

test("what cannot be read is left out, and what follows it is read", () => {
  expect(named("")).toEqual([]);
  expect(named(' , ;a, =5, wait 5, wait=5 6, wait="5"6, (a)=1, wait=3')).toEqual([["wait", "3"]]);
  expect(named('wait="5, respond-async')).toEqual([]);
});

test("respond-async is preferred with an empty value too, and not with another", () => {
  const prefers = (prefer?: string) => prefersAsync({ headers: { prefer } });
  expect(['wait=5, Respond-Async=""', "respond-async; a=b"].map(prefers)).toEqual([true, true]);
  expect(['a="b, respond-async"', "respond-async=no", undefined].map(prefers)).toEqual([false, false, false]);
});
