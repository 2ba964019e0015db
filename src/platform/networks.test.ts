import { expect, test } from "vitest";
import { networkOf } from "./networks.js";

test("a party is its IPv4 address, its /64, or unknown where its connection is gone already", () => {
  expect(networkOf("::ffff:192.0.2.1")).toBe("192.0.2.1");
  expect(networkOf("2001:db8:0:1::5")).toBe("2001:db8:0:1::/64");
  expect([networkOf(null), networkOf(undefined)]).toEqual(["unknown", "unknown"]);
});
