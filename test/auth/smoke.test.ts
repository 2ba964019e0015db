import { afterAll, beforeAll, expect, test } from "vitest";
import { type Harness, openHarness } from "./harness.js";
let h: Harness;
beforeAll(async () => { h = await openHarness(); });
afterAll(async () => { await h.close(); });
test("smoke", async () => {
  const r = await h.postForm({ grant_type: "client_credentials", client_id: h.admin.clientId, client_secret: h.admin.clientSecret, audience: "service" });
  console.log(r.statusCode, r.headers, r.body);
  const token = r.json().access_token;
  console.log(token.split(".").slice(0,2).map((p: string) => Buffer.from(p, "base64url").toString()));
  for (const url of ["/jobs", "/anybody", "/open", "/nothing", "/oauth/jwks", "/oauth/token"]) {
    const a = await h.app.inject({ url, headers: { authorization: `Bearer ${token}` } });
    console.log(url, a.statusCode, a.headers, a.body.slice(0, 300));
  }
  const b = await h.app.inject({ url: "/jobs" });
  console.log(b.statusCode, b.headers, b.body);
  for (const form of [{ grant_type: "x" }, { grant_type: "client_credentials", client_id: "zz", client_secret: "b" }, { grant_type: "client_credentials", client_id: h.admin.clientId, client_secret: "b" }]) {
    const c = await h.postForm(form as never);
    console.log(c.statusCode, c.headers, c.body);
  }
  console.log(h.log.join(""));
  expect(1).toBe(1);
});
