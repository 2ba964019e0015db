import { afterAll, beforeAll, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation-timed.js";
let g: Installation;
beforeAll(async () => { const t = Date.now(); g = await openInstallation(); console.log("open", Date.now() - t); });
afterAll(async () => { const t = Date.now(); await g.close(); console.log("close", Date.now() - t); console.log(g.log.filter(l => !l.includes('"level":30')).join("\n")); });
test("x", async () => {
  await g.putFile("a.csv", "id,name\n1,a\n2,b\n");
  const t = Date.now();
  const j = await g.call("POST", "/api/v1/project/default/jobs", { body: { name: "j", source: { name: "s", type: "file", version: "1.0.0", config: { path: "a.csv" } }, destination: { name: "d", type: "file", version: "1.0.0", config: JSON.stringify({ path: "out" }) }, frequency: "@daily", streams_config: {} } });
  console.log(j.text);
  const id = (j.body as {data: {id: number}}).data.id;
  const s = await g.call("POST", `/api/v1/project/1/jobs/${id}/sync`, { headers: { "content-type": "application/json" } });
  console.log(s.status, s.headers, s.text);
  const op = await g.waitDone(String(s.headers["operation-location"]).split("/").pop() ?? "");
  console.log(Date.now() - t, JSON.stringify(op, null, 1), await g.readFile("out/a.csv"));
  const t2 = Date.now();
  console.log((await g.call("GET", "/api/v1/project/default/source/streams", { body: { type: "file", version: "1.0.0", config: { path: "a.csv" } } })).text, Date.now() - t2);
  console.log(g.app.printRoutes({ commonPrefix: false }));
});
