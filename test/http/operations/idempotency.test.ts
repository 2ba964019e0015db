import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HeldKey } from "../../../src/auth/principal.js";
import { auditSql } from "../../../src/domain/audit/audit.js";
import { system } from "../../../src/domain/system.js";
import { KeyHold } from "../../../src/http/idempotency.js";
import { withoutSecrets } from "../../../src/http/idempotency-answer.js";
import { IdempotencyKeys } from "../../../src/operations/idempotency.js";
import { conflict } from "../../../src/platform/errors.js";
import { until } from "../../support/until.js";
import { operationOf, tablesHolding } from "../project/support.js";
import { type OperationsBench, openOperations } from "./support.js";

let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations();
});
afterAll(() => bench.close());

let keys = 0;
const newKey = (): string => `key-${++keys}`;
const under = (key: string, body?: unknown) => ({
  headers: { "idempotency-key": key },
  ...(body === undefined ? {} : { body }),
});
const post = <T = unknown>(path: string, options: object) =>
  bench.gatehouse.call<T>("POST", `/api/v1${path}`, options);
const operations = async (): Promise<number> =>
  (await bench.gatehouse.database.query("SELECT 1 FROM operations")).length;

describe("a sync under a key", () => {
  test("sent again gets the first answer, and starts nothing", async () => {
    const job = await bench.slowJob();
    const release = await bench.hold();
    const key = newKey();
    const first = await bench.sync(job, under(key));
    expect(first.headers["idempotent-replayed"]).toBeUndefined();
    const before = await operations();
    const again = await bench.sync(job, under(key));
    expect(again.status).toBe(202);
    expect(again.headers).toMatchObject({
      "idempotent-replayed": "true",
      location: first.headers["location"],
      "operation-location": first.headers["location"],
      "content-type": "application/json; charset=utf-8",
    });
    expect(again.body).toEqual(first.body);
    expect(await operations()).toBe(before);
    // Another key is another request.
    expect((await bench.sync(job, under(newKey()))).status).toBe(409);
    await release();
    await bench.gatehouse.waitDone(first.body.id);
    expect((await bench.sync(job, under(key))).body).toEqual(first.body);
  });

  test("sent twenty times at once starts one run, and every answer leads to it", async () => {
    const job = await bench.quickJob();
    const before = await operations();
    const key = newKey();
    const all = await Promise.all(Array.from({ length: 20 }, () => bench.sync(job, under(key))));
    for (const { status, headers } of all) {
      expect([202, 409]).toContain(status);
      if (status === 409) expect(headers["retry-after"]).toBe("1");
    }
    const ids = await Promise.all(all.map(async () => (await bench.sync(job, under(key))).body.id));
    expect(new Set(ids).size).toBe(1);
    expect(await operations()).toBe(before + 1);
    await bench.gatehouse.waitDone(ids[0] ?? "");
  });

  test("that was refused did nothing: each copy is told so, and the same key works later, for anything", async () => {
    const job = await bench.slowJob();
    const release = await bench.hold();
    const { id } = (await bench.sync(job)).body;
    const key = newKey();
    const copies = await Promise.all(Array.from({ length: 20 }, () => bench.sync(job, under(key))));
    for (const { status, headers } of copies)
      expect([status, headers["retry-after"]]).toEqual([409, undefined]);
    expect((await bench.sync(job, under(key, { another: "body" }))).status).toBe(409);
    await release();
    await bench.gatehouse.waitDone(id);
    const answer = await bench.sync(job, under(key));
    expect(answer.status).toBe(202);
    await bench.gatehouse.waitDone(answer.body.id);
  });

  test("that was refused is not accepted later by a copy that came before", async () => {
    const { db, masterKey } = bench.gatehouse.runtime;
    const idempotency = new IdempotencyKeys(db, masterKey);
    const asked = { id: randomBytes(32), requestHash: Buffer.from("hash"), method: "POST", path: "/" };
    const hold = (refusal: string | null) =>
      new KeyHold(idempotency, { ...asked, projects: null, refusal }, true, () => false);
    const accept = (by: KeyHold, body: string) =>
      db.transaction((tx) => by.keep(tx, { status: 202, headers: {}, body }));
    const refused = conflict("another run is active");
    // Both came before there was an answer; one of them stands still somewhere.
    const [late, prompt] = [hold(null), hold(null)];
    expect(await prompt.explain(refused)).toBe(refused);
    await expect(accept(late, "late")).rejects.toMatchObject({ details: { retryAfter: 1 } });
    // Two who have seen the refusal try again: one of them is first.
    const seen = await idempotency.find(asked.id);
    const [first, second] = [hold(seen?.refusal ?? null), hold(seen?.refusal ?? null)];
    await accept(first, "first");
    expect(await second.explain(refused)).toMatchObject({ details: { retryAfter: 1 } });
    for (const other of [second, late]) await expect(accept(other, "other")).rejects.toThrow("in flight");
    expect((await idempotency.find(asked.id))?.answer?.body).toBe("first");
  });

  test("whose client hung up before it was accepted is not accepted, but when it is sent again", async () => {
    const { app, database, origin } = bench.gatehouse;
    const job = await bench.quickJob();
    const key = newKey();
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query("BEGIN");
    await holder.query("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", [job.id]);
    const met = once(app.server, "request") as Promise<[IncomingMessage]>;
    const hasty = request(`${origin}/api/v1/jobs/${job.id}/sync`, {
      method: "POST",
      headers: { authorization: `Bearer ${await bench.gatehouse.token()}`, "idempotency-key": key },
    });
    hasty.on("error", () => {}).end();
    const [{ socket }] = await met;
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
      AND wait_event_type = 'Lock' AND query LIKE '%FROM jobs%FOR UPDATE%'`;
    await until("it waits for the job", async () => (await database.query(waiting)).length === 1);
    const before = await operations();
    hasty.destroy();
    await until("the server has seen it", () => socket.destroyed);
    await holder.query("COMMIT");
    await holder.end();
    await until("it waits no more", async () => (await database.query(waiting)).length === 0);
    const answer = await bench.sync(job, under(key));
    expect(answer.status).toBe(202);
    expect(answer.headers["idempotent-replayed"]).toBeUndefined();
    expect(await operations()).toBe(before + 1);
    await bench.gatehouse.waitDone(answer.body.id);
  });

  test("of the project API is answered in its envelope, as are cancel and retry", async () => {
    const job = await bench.slowJob();
    const release = await bench.hold();
    const key = newKey();
    const path = `/jobs/${job.number}`;
    const first = await bench.api.call("POST", `${path}/sync`, under(key));
    const again = await bench.api.call("POST", `${path}/sync`, under(key));
    expect(again.text).toBe('{"success":true,"message":"success","data":null}');
    expect(again.text).toBe(first.text);
    expect(again.headers["idempotent-replayed"]).toBe("true");
    const id = operationOf(first);
    expect(operationOf(again)).toBe(id);
    await bench.api.call("POST", `${path}/cancel`, under(key));
    await bench.gatehouse.waitDone(id);
    const cancelled = await bench.api.call("POST", `${path}/cancel`, under(key));
    expect([cancelled.status, cancelled.headers["idempotent-replayed"]]).toEqual([200, "true"]);
    await release();
    const next = await bench.retry(id, under(key));
    expect((await bench.retry(id, under(key))).body.id).toBe(next.body.id);
    await bench.gatehouse.waitDone(next.body.id);
  });
});

describe("a change under a key", () => {
  test("is made once; another body is 422, another principal's key is its own", async () => {
    const key = newKey();
    const body = { slug: `once-${key}`, name: "once" };
    const first = await post<{ id: string }>("/projects", under(key, body));
    expect(first.status, first.text).toBe(201);
    const again = await post("/projects", under(key, { name: body.name, slug: body.slug }));
    expect([again.status, again.text, again.headers["idempotent-replayed"]]).toEqual([
      201,
      first.text,
      "true",
    ]);
    const other = await post<{ code: string }>("/projects", under(key, { ...body, name: "other" }));
    expect([other.status, other.body.code]).toEqual([422, "unprocessable"]);
    const client = await bench.gatehouse.createClient();
    const token = await bench.gatehouse.token(client);
    expect((await post("/projects", { ...under(key, body), token })).status).toBe(409);
    const path = `/api/v1/projects/${first.body.id}`;
    for (let time = 0; time < 2; time++) {
      const deleted = await bench.gatehouse.call("DELETE", path, under(key));
      expect([deleted.status, deleted.text]).toEqual([204, ""]);
    }
    expect((await bench.gatehouse.call("DELETE", path, under(newKey()))).status).toBe(404);
  });

  test("is not told again to a caller whose projects were taken away since", async () => {
    const { gatehouse } = bench;
    const [kept, lost] = [await gatehouse.createProject(), await gatehouse.createProject()];
    const client = await gatehouse.createClient({ projects: [kept.id, lost.id] });
    const key = newKey();
    const make = async () =>
      gatehouse.call("POST", `/api/v1/project/${lost.slug}/sources`, {
        ...under(key, { name: "s", type: "file", version: "1.0.0", config: { path: "in.csv" } }),
        token: await gatehouse.token(client),
      });
    const first = await make();
    expect(first.status, first.text).toBe(200);
    expect((await make()).headers["idempotent-replayed"]).toBe("true");
    // Without a new generation, so that its token lives on: what is judged here are the projects alone.
    await gatehouse.database.query(
      "DELETE FROM api_client_projects WHERE client_id = $1 AND project_id = $2",
      [client.id, lost.id],
    );
    const refused = await until("the narrowing is known", async () => {
      const answer = await make();
      return answer.status !== 200 && answer;
    });
    expect(refused.status).toBe(403);
    expect(refused.text).not.toContain('"data":{');
  });

  test("that failed frees its key", async () => {
    const key = newKey();
    const slug = `taken-${key}`;
    const { id } = (await post<{ id: string }>("/projects", { body: { slug, name: "x" } })).body;
    expect((await post("/projects", under(key, { slug, name: "x" }))).status).toBe(409);
    expect((await post("/projects", under(key, { slug, name: 1 }))).status).toBe(400);
    await bench.gatehouse.call("DELETE", `/api/v1/projects/${id}`);
    expect((await post("/projects", under(key, { slug, name: "x" }))).status).toBe(201);
  });

  test("in flight is a 409 with Retry-After; one whose process died is made again later", async () => {
    const key = newKey();
    const body = { slug: `flight-${key}`, name: "flight" };
    const { database } = bench.gatehouse;
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query("BEGIN; LOCK TABLE projects IN EXCLUSIVE MODE");
    const first = post("/projects", under(key, body));
    const inFlight = "SELECT 1 FROM idempotency_keys WHERE status IS NULL AND locked_until > now()";
    await until("it is in flight", async () => (await database.query(inFlight)).length === 1);
    const second = await post<{ code: string }>("/projects", under(key, body));
    expect([second.status, second.body.code, second.headers["retry-after"]]).toEqual([409, "conflict", "1"]);
    await holder.query("COMMIT");
    await holder.end();
    expect((await first).status).toBe(201);
    await database.query(
      "UPDATE idempotency_keys SET status = NULL, locked_until = now() - interval '1 second' WHERE path LIKE '%/projects'",
    );
    // By the rules of the route: the slug is taken.
    expect((await post("/projects", under(key, body))).status).toBe(409);
  });

  test("whose process stood still until another had its key is not made, and told to be sent again", async () => {
    const { database } = bench.gatehouse;
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query("BEGIN; LOCK TABLE api_clients IN EXCLUSIVE MODE");
    const key = newKey();
    const send = () => post("/clients", under(key, { name: "late", scopes: ["job:read"] }));
    const made = async () => (await database.query("SELECT 1 FROM api_clients WHERE name = 'late'")).length;
    const late = send();
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
      AND query LIKE '%INTO "public"."api_clients"%'`;
    await until("it waits", async () => (await database.query(waiting)).length === 1);
    await database.query(
      "UPDATE idempotency_keys SET claim = gen_random_uuid(), locked_until = now() + interval '1 minute' WHERE status IS NULL",
    );
    await holder.query("COMMIT");
    await holder.end();
    const answer = await late;
    expect([answer.status, answer.headers["retry-after"]]).toEqual([409, "1"]);
    expect(await made()).toBe(0);
    await database.query("UPDATE idempotency_keys SET locked_until = now() WHERE status IS NULL");
    expect((await send()).status).toBe(201);
    expect(await made()).toBe(1);
  });

  test("by prepared statements is taken back just so, and keeps the key from others until it is there", async () => {
    const { db, masterKey } = bench.gatehouse.runtime;
    const idempotency = new IdempotencyKeys(db, masterKey);
    const [id, claim] = [randomBytes(32), randomUUID()];
    const asked = { id, requestHash: Buffer.from("hash"), method: "POST", path: "/", projects: null };
    const change = (held: HeldKey) =>
      db.transaction((tx) =>
        auditSql(tx, { ...system("scheduler", bench.gatehouse.organizationId), held }, { action: "late" }),
      );
    expect(await idempotency.claim(asked, claim)).toBe(true);
    await expect(change({ id, claim: randomUUID() })).rejects.toThrow("in flight");
    await db.run("UPDATE idempotency_keys SET locked_until = now() WHERE claim = $1", [claim]);
    await change({ id, claim });
    expect(await idempotency.claim(asked, randomUUID())).toBe(false);
    await idempotency.release(id, claim);
  });

  test("whose process stood still before its answer was kept does not answer beside the one that has its key", async () => {
    const { database } = bench.gatehouse;
    // With the effect's commit: then another has the key.
    await database.query(`CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE idempotency_keys SET claim = gen_random_uuid(), locked_until = now() WHERE status IS NULL; RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER steal AFTER INSERT ON projects DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION steal()`);
    const key = newKey();
    const body = { slug: `stolen-${key}`, name: "stolen" };
    try {
      const answer = await post<{ code: string }>("/projects", under(key, body));
      expect([answer.status, answer.body.code, answer.headers["retry-after"]]).toEqual([
        409,
        "conflict",
        "1",
      ]);
    } finally {
      await database.query("DROP TRIGGER steal ON projects; DROP FUNCTION steal");
    }
    // By the rules of the route: it is there.
    const again = await post("/projects", under(key, body));
    expect([again.status, again.headers["retry-after"]]).toEqual([409, undefined]);
  });

  test("is in flight as long as its process lives", async () => {
    const { database, runtime } = bench.gatehouse;
    const keys = new IdempotencyKeys(runtime.db, runtime.masterKey);
    const [id, claim] = [randomBytes(32), randomUUID()];
    const asked = { id, requestHash: Buffer.from("hash"), method: "POST", path: "/", projects: null };
    expect(await keys.claim(asked, claim)).toBe(true);
    const lockedUntil = async (): Promise<number> => {
      const query = "SELECT locked_until AS until FROM idempotency_keys WHERE claim = $1";
      const [row] = await database.query<{ until: Date }>(query, [claim]);
      return row?.until.getTime() ?? 0;
    };
    const first = await lockedUntil();
    await until("it was renewed", async () => (await lockedUntil()) > first);
    await keys.release(id, claim);
    expect(await lockedUntil()).toBe(0);
  });

  test("that shows a secret shows it again for ten minutes, and never in clear in the database", async () => {
    const key = newKey();
    const body = { name: "has a secret", scopes: ["job:read"] };
    const first = await post<{ clientSecret: string; id: string }>("/clients", under(key, body));
    const { clientSecret } = first.body;
    expect(clientSecret.length).toBeGreaterThan(20);
    expect((await post("/clients", under(key, body))).body).toEqual(first.body);
    expect(await tablesHolding(bench.gatehouse, clientSecret)).toEqual([]);
    await bench.gatehouse.database.query(
      "UPDATE idempotency_keys SET sealed_until = now() - interval '1 second'",
    );
    const later = await post<object>("/clients", under(key, body));
    expect(later.headers["idempotent-replayed"]).toBe("true");
    expect(later.body).toEqual({ ...first.body, clientSecret: undefined });
  });
});

test.each(["", "with space", "ä", "x".repeat(256)])("%j is no key: a 400 that names it", async (key) => {
  const answer = await post<{ errors?: { path: string }[] }>("/projects", {
    headers: { "idempotency-key": key },
    body: { slug: "never", name: "never" },
  });
  expect(answer.status).toBe(400);
  expect(answer.body.errors?.[0]?.path).toBe("/headers/idempotency-key");
});

test("keys are pruned when their day is over", async () => {
  const key = newKey();
  const body = { slug: `pruned-${key}`, name: "pruned" };
  await post("/projects", under(key, body));
  const { database, runtime } = bench.gatehouse;
  await database.query("UPDATE idempotency_keys SET expires_at = now()");
  expect((await post("/projects", under(key, body))).status).toBe(409);
  const idempotencyKeys = new IdempotencyKeys(runtime.db, runtime.masterKey);
  expect(await idempotencyKeys.prune(AbortSignal.abort())).toBe(0);
  expect(await idempotencyKeys.prune()).toBeGreaterThan(0);
  expect(await database.query("SELECT 1 FROM idempotency_keys")).toEqual([]);
});

test("every member of an answer that holds a secret is known as one", () => {
  interface Node {
    readonly [name: string]: unknown;
  }
  const names = new Set<string>();
  const walk = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    const { properties, ...rest } = node as Node;
    for (const [name, property] of Object.entries(properties ?? {})) {
      const description = String((property as Node)["description"] ?? "");
      const isList = (property as Node)["type"] === "array";
      if (/shown (this )?once/i.test(description) && !isList) names.add(name);
      walk(property);
    }
    for (const value of Object.values(rest)) walk(value);
  };
  walk(bench.gatehouse.app.swagger());
  expect(names).toContain("clientSecret");
  for (const name of names) expect(withoutSecrets(JSON.stringify({ [name]: "x" })), name).toBe("{}");
  expect(withoutSecrets('{ "config": {"password": "****"}}')).toBe('{ "config": {"password": "****"}}');
});
