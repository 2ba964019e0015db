import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BuiltServer, build, freePort, ROOT, runToEnd, startBuiltServer } from "./server.js";

const DEMO = ["dist/cli/demo.js"];

describe("the demo against the built server", () => {
  let server: BuiltServer;

  beforeAll(async () => {
    build();
    server = await startBuiltServer();
  }, 240_000);

  afterAll(async () => {
    await server?.stop();
  }, 60_000);

  const rowsOfExample = (): number =>
    readFileSync(join(ROOT, "examples/customers.csv"), "utf8").trimEnd().split("\n").length - 1;

  test("ends with the rows of the file counted at the destination, without being told any credentials", async () => {
    const { code, stdout, stderr } = await runToEnd(DEMO, server.env);
    expect(stderr).not.toContain("demo:");
    expect(code).toBe(0);
    expect(stdout).toContain(`${rowsOfExample()} rows found, ${rowsOfExample()} rows copied.`);
  });

  test("works a second time, and a third time after its job was deleted", async () => {
    const second = await runToEnd(DEMO, server.env);
    expect(second.code).toBe(0);
    expect(second.stdout).toContain("It is there from an earlier demo");

    const call = await authorized(server);
    const { data: jobs } = await call("GET", "/api/v1/project/default/jobs");
    for (const { id } of jobs) await call("DELETE", `/api/v1/project/default/jobs/${id}`);
    const third = await runToEnd(DEMO, server.env);
    expect(third.code).toBe(0);
    expect(third.stdout).toContain(`${rowsOfExample()} rows found`);
  });

  test("prints no secret: neither the client's, nor the token, nor the destination's password", async () => {
    const env = { ...server.env, CLIENT_ID: server.clientId, CLIENT_SECRET: server.clientSecret };
    const { code, stdout } = await runToEnd(DEMO, env);
    expect(code).toBe(0);
    expect(stdout).not.toContain(server.clientSecret);
    expect(stdout).not.toMatch(/eyJ[\w-]{20,}/);
    expect(stdout).toContain(`client_secret="$CLIENT_SECRET"`);
    expect(stdout).toContain(`"password":"'"$DEMO_PASSWORD"'"`);
    expect(stdout).toContain(`"password": "********"`);
  });

  test("leaves the client that it made for itself no more than it needs", async () => {
    await runToEnd(DEMO, server.env);
    const adminUrl = readFileSync(join(server.home, "postgres/admin-url"), "utf8").trim();
    const { default: pg } = await import("pg");
    const client = new pg.Client({ connectionString: adminUrl.replace(/\/postgres$/, "/gatehouse") });
    await client.connect();
    const { rows } = await client.query(
      `SELECT scopes, all_projects AS "allProjects", expires_at < now() + interval '61 minutes' AS expires,
         (SELECT count(*)::int FROM api_client_secrets s WHERE s.client_id = c.id) AS secrets
       FROM api_clients c WHERE client_id = 'gatehouse-demo'`,
    );
    await client.end();
    expect(rows).toEqual([
      {
        scopes: expect.not.arrayContaining(["service"]),
        allProjects: false,
        expires: true,
        secrets: 1,
      },
    ]);
  });

  test("says what to do where no server answers", async () => {
    const { code, stderr } = await runToEnd(DEMO, { ...server.env, PORT: String(await freePort()) });
    expect(code).toBe(1);
    expect(stderr).toContain("no Gatehouse answers at");
    expect(stderr).toContain("npm start");
  });

  test("says what to set where there is no embedded database", async () => {
    const env = {
      ...server.env,
      DATABASE_URL: "postgresql://localhost/x",
      GATEHOUSE_MASTER_KEY: "0".repeat(64),
    };
    const { code, stderr } = await runToEnd(DEMO, env);
    expect(code).toBe(1);
    for (const name of ["CLIENT_ID", "CLIENT_SECRET", "DEMO_DATABASE_URL"]) expect(stderr).toContain(name);
  });
});

/** Calls the server as its administrator. */
async function authorized({ url, clientId, clientSecret }: BuiltServer) {
  const form = { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
  const token = await fetch(`${url}/oauth/token`, { method: "POST", body: new URLSearchParams(form) });
  const { access_token } = (await token.json()) as { access_token: string };
  return async (method: string, path: string) => {
    const headers = { authorization: `Bearer ${access_token}` };
    const answer = await fetch(url + path, { method, headers });
    return (await answer.json()) as { data: { id: number }[] };
  };
}
