import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { until } from "../support/until.js";
import { openWebhookBench, type WebhookBench } from "./bench.js";

let bench: WebhookBench;
/** Nobody delivers here. */
const URL = "http://127.0.0.1:9/";
const BATCH = 1_000;

const query = <R extends object>(text: string, values: readonly unknown[] = []) =>
  bench.installation.database.query<R>(text, [...values]);

beforeAll(async () => {
  bench = await openWebhookBench();
  // What each statement changes of deliveries, whoever sends it.
  await query("CREATE TABLE changes_seen (transaction bigint, count int)");
  await query(`CREATE FUNCTION see_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO changes_seen SELECT txid_current(), count(*) FROM changed; RETURN NULL; END $$`);
  await query(`CREATE TRIGGER see_changes AFTER UPDATE ON webhook_deliveries
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION see_changes()`);
});
beforeEach(async () => {
  for (const table of ["webhook_events", "webhooks", "changes_seen"]) await query(`DELETE FROM ${table}`);
});
afterAll(() => bench.close());

/** Operations with three events each; the first failed and waits for its next try, the others wait for it. */
async function makeBacklog(webhookId: string, operations: number): Promise<void> {
  const { organizationId } = bench.installation;
  await query(
    `INSERT INTO webhook_events (id, organization_id, type, data, occurred_at)
     VALUES (gatehouse_uuidv7(), $1, 'operation.accepted', '{}', now())`,
    [organizationId],
  );
  await query(
    `INSERT INTO webhook_deliveries
       (id, organization_id, webhook_id, event_id, event_type, operation_id, tries, attempt, next_attempt_at)
     SELECT gatehouse_uuidv7(), $1, $2, e.id, e.type, md5(o::text)::uuid, (turn = 1)::int, (turn = 1)::int,
       now() + interval '1 hour' + o % 7 * interval '1 second'
     FROM webhook_events e, generate_series(1, $3::int) o, generate_series(1, 3) turn ORDER BY o, turn`,
    [organizationId, webhookId, operations],
  );
}

const countWaiting = async (tries: number): Promise<number> => {
  const text = `SELECT count(*)::int AS count FROM webhook_deliveries
    WHERE status = 'pending' AND tries = $1 AND next_attempt_at > now()`;
  return (await query<{ count: number }>(text, [tries]))[0]?.count ?? -1;
};

test.each([
  ["moved", (id: string) => ["PATCH", `/api/v1/webhooks/${id}`, { url: "http://127.0.0.1:9/new" }] as const],
  ["enabled again", (id: string) => ["POST", `/api/v1/webhooks/${id}/enable`, undefined] as const],
])(
  "what waits for a webhook that is %s goes now, however much, and no transaction changes more than a batch of it",
  async (_what, change) => {
    const { id } = await bench.create(URL);
    await makeBacklog(id, 10_000);
    await query("UPDATE webhooks SET failures = 9, failing_since = now() WHERE id = $1", [id]);
    const [method, path, body] = change(id);
    if (method === "POST") await query("UPDATE webhooks SET disabled_at = now() WHERE id = $1", [id]);
    const answer = await bench.installation.call(method, path, body === undefined ? {} : { body });
    expect(answer.body).toMatchObject({ enabled: true, failures: 0, failingSince: null });
    await until("all that waited for their time alone are due", async () => (await countWaiting(1)) === 0);
    // Those behind them are called one by one, by those before.
    expect(await countWaiting(0)).toBe(20_000);
    const [seen] = await query<{ most: number; all: number }>(
      `SELECT max(count)::int AS most, sum(count)::int AS all
       FROM (SELECT sum(count) AS count FROM changes_seen GROUP BY transaction) AS of_transactions`,
    );
    expect(seen?.all).toBe(10_000);
    expect(seen?.most).toBeLessThanOrEqual(BATCH);
  },
);

test("what has failed at the new URL meanwhile waits for its next try as ever", async () => {
  const { id } = await bench.create(URL);
  await makeBacklog(id, 2);
  // As it is when the try ends between two batches.
  await query(
    `INSERT INTO webhook_attempts (delivery_id, number, started_at, duration_ms, error)
     SELECT id, attempt, now() + interval '1 minute', 1, 'answered 500' FROM webhook_deliveries
     WHERE tries = 1 ORDER BY position LIMIT 1`,
  );
  await bench.installation.call("PATCH", `/api/v1/webhooks/${id}`, {
    body: { url: "http://127.0.0.1:9/new" },
  });
  await until("the other is due", async () => (await countWaiting(1)) === 1);
  const [late] = await query(
    "SELECT 1 FROM webhook_deliveries d JOIN webhook_attempts a ON a.delivery_id = d.id WHERE d.next_attempt_at > now()",
  );
  expect(late).toBeDefined();
});

test("what waits for a webhook goes at its time where the change neither moves nor enables it", async () => {
  const { id } = await bench.create(URL);
  await makeBacklog(id, 2);
  await bench.installation.call("PATCH", `/api/v1/webhooks/${id}`, {
    body: { url: URL, description: "new" },
  });
  await bench.installation.call("POST", `/api/v1/webhooks/${id}/enable`);
  expect(await countWaiting(1)).toBe(2);
});
