import { expect, test } from "vitest";
import { UsedSecrets } from "./secrets.js";

test("a used secret is found in whatever text tells it, however deep it came in", () => {
  const secrets = new UsedSecrets();
  secrets.addFrom({
    data: [{ clientSecret: "a-client-secret-0001" }],
    config: { password: "correct horse" },
  });
  secrets.add("a.bearer.token");
  expect(secrets.toldIn(["GET /api/v1/jobs 200", "wrong: correct horse", "token a.bearer.token"])).toEqual([
    "wrong: correct horse",
    "token a.bearer.token",
  ]);
});

test("masks and short words are no secrets", () => {
  const secrets = new UsedSecrets();
  secrets.addFrom({ password: "****************", token: "short" });
  expect(secrets.toldIn(["****************", "short"])).toEqual([]);
});
