import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openPassword } from "../../../src/domain/deployments/secrets.js";
import { COMMANDS, type DeploymentState, refusal, STATES } from "../../../src/domain/deployments/state.js";
import { until } from "../../support/until.js";
import { statusOf } from "../access/support.js";
import { archive, type DatabaseAnswer, type DeploymentsApi, openDeployments } from "./support.js";

let api: DeploymentsApi;

beforeAll(async () => {
  api = await openDeployments();
});
afterAll(() => api.gatehouse.close());

const ID = "0199b3c0-0a1b-7c2d-8e3f-405162738400";

/** How each command is asked for, with a body that it takes. */
const ROUTES: Readonly<Record<string, (other: string) => [path: string, body?: object]>> = {
  pause: () => ["pause"],
  resume: () => ["resume"],
  restart: () => ["restart", { reset: true }],
  clone: () => ["clone", { name: api.name() }],
  snapshot: () => ["snapshot"],
  export: () => ["export"],
  "connection-url": (other) => ["connection-url", { databaseId: other }],
  "rotate-password": () => ["connection-url", { rotatePassword: true }],
  resize: () => ["plan/change", { targetPlanName: "ds2" }],
  terminate: () => ["terminate", { finalSnapshot: false }],
};

describe("every command in every state", () => {
  let subject: DatabaseAnswer;
  let other: DatabaseAnswer;

  beforeAll(async () => {
    [subject, other] = [await api.database(), await api.database()];
  });

  const pairs = STATES.flatMap((state) =>
    COMMANDS.filter((command) => command in ROUTES).map((command) => ({ state, command })),
  );

  test.each(pairs)(
    "$command of what is $state is accepted, or refused with the reason",
    async ({ state, command }) => {
      await api.put(subject.id, state);
      await api.put(other.id, "running");
      const [path, body] = ROUTES[command]?.(other.id) ?? [""];
      const answer = await api.command(subject.id, path, body);
      const reason = refusal(command, state);
      expect(answer.body.error ?? null, answer.text).toBe(reason);
      statusOf(answer, reason === null ? 202 : 409);
      const [row] = await api.gatehouse.database.query<{ state: string }>(
        "SELECT state FROM deployments WHERE id = $1",
        [subject.id],
      );
      if (reason !== null) expect(row?.state).toBe(state);
    },
  );
});

describe("a command", () => {
  test("is taken by POST as by PUT, with dashes or without, in each form of the route", async () => {
    const { id } = await api.database();
    const plain = id.replaceAll("-", "");
    for (const method of ["PUT", "POST"]) {
      for (const prefix of ["/databases", "/deployments/databases", "/deployments/databases/graphneo"]) {
        await api.put(id, "running");
        statusOf(await api.call(method, `${prefix}/${plain}/restart`), 202);
      }
    }
  });

  test("without a body is taken whatever it says of its content, and a form is as good as JSON", async () => {
    const { id } = await api.database();
    const headers = { "content-type": "application/json" };
    statusOf(await api.call("PUT", `/databases/${id}/restart`, { headers, raw: "" }), 202);
    await api.put(id, "running");
    const form = { headers: { "content-type": "application/x-www-form-urlencoded" }, raw: "reset=true" };
    statusOf(await api.call("PUT", `/databases/${id}/restart`, form), 202);
    await api.put(id, "running");
    statusOf(await api.command(id, "restart", { reset: "perhaps" }), 400);
    statusOf(await api.command(id, "pause", { until: "tomorrow" }), 400);
  });

  test("while another is at work is a 409 that names the operation", async () => {
    const { id } = await api.database();
    const first = await api.command(id, "snapshot");
    const second = await api.command(id, "pause");
    statusOf(second, 409);
    expect(second.body).toMatchObject({
      operationId: first.body.operationId,
      error: `operation ${first.body.operationId} (deployment.snapshot) is still running on this database`,
    });
    await api.end(first.body.operationId, { status: "succeeded", result: archive });
    statusOf(await api.command(id, "pause"), 202);
  });

  test("of many at once is accepted once", async () => {
    const { id } = await api.database();
    const answers = await Promise.all([1, 2, 3, 4, 5].map(() => api.command(id, "pause")));
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409, 409, 409]);
  });

  test("that ends within the time that the client waits is a 200 with the finished operation", async () => {
    const { id } = await api.database();
    const waiting = api.command(id, "pause", undefined, { headers: { prefer: "wait=20" } });
    const operationId = await until("the operation is there", async () => {
      const { body } = await api.read(id);
      return body.status.currentOperationId;
    });
    await api.end(operationId, { status: "succeeded", result: {} });
    const answer = await waiting;
    statusOf(answer, 200);
    expect(answer.body).toMatchObject({
      id: operationId,
      operationType: "deployment.pause",
      databaseId: id,
      status: "finished",
      startedAt: expect.any(Number),
      durationInSeconds: expect.any(Number),
      steps: [],
      error: null,
      nextOperationId: null,
    });
    expect(answer.headers["preference-applied"]).toBe("wait=20");
    const short = await api.command(id, "resume", undefined, { headers: { prefer: "wait=0" } });
    statusOf(short, 202);
  });

  test("sent again under its Idempotency-Key is answered alike, and done once", async () => {
    const { id } = await api.database();
    const options = { headers: { "idempotency-key": "nightly-snapshot" } };
    const first = await api.command(id, "snapshot", undefined, options);
    statusOf(first, 202);
    const again = await api.command(id, "snapshot", undefined, options);
    expect(again.body).toEqual(first.body);
    expect(again.headers["idempotent-replayed"]).toBe("true");
    const [count] = await api.gatehouse.database.query(
      "SELECT count(*)::int FROM operations WHERE resource_id = $1 AND operation_type = 'deployment.snapshot'",
      [id],
    );
    expect(count).toEqual({ count: 1 });
  });

  test("numbers itself within its database, for the fence of its effects", async () => {
    const { id } = await api.database();
    const numbers: unknown[] = [];
    for (const command of ["pause", "resume", "restart"]) {
      const { payload } = await api.end((await api.command(id, command)).body.operationId);
      numbers.push(payload);
    }
    expect(numbers).toEqual([
      { deploymentId: id, command: 2, before: "running" },
      { deploymentId: id, command: 3, before: "paused" },
      { deploymentId: id, command: 4, before: "running", reset: false },
    ]);
  });

  test("goes to the workers of the database's region, and to the audit log", async () => {
    const { id } = await api.database();
    const { operationId } = (await api.command(id, "pause")).body;
    expect(await api.gatehouse.runtime.ledger.claim(operationId, "elsewhere", 1_000, ["mars"])).toBeNull();
    const { region } = await api.end(operationId);
    expect(region).toBe("local");
    const events = await api.gatehouse.database.query<{ action: string }>(
      "SELECT action FROM audit_events WHERE target_id = $1 ORDER BY id",
      [id],
    );
    expect(events.map(({ action }) => action)).toEqual(["deployment.create", "deployment.pause"]);
  });
});

describe("a clone", () => {
  test("is a database of its own, in its own environment, with an address and a password of its own", async () => {
    const [source, project] = [await api.database(), await api.gatehouse.createProject()];
    const name = api.name();
    const answer = await api.command(source.id, "clone", { name, environmentId: project.slug, plan: "ds2" });
    statusOf(answer, 202);
    const id = answer.body.databaseId ?? "";
    expect((await api.read(source.id)).body.status).toMatchObject({ state: "cloning", isLocked: true });
    const clone = (await api.read(id)).body;
    expect(clone).toMatchObject({ name, plan: "ds2", environmentId: project.id, version: source.version });
    expect(clone.status).toMatchObject({ state: "creating", currentOperationId: answer.body.operationId });
    expect(clone.port).not.toBe(source.port);
    const { payload } = await api.end(answer.body.operationId);
    expect(payload).toMatchObject({
      deploymentId: source.id,
      other: { deploymentId: id, command: 1, before: "creating" },
    });
    expect((await api.read(id)).body.status).toMatchObject({ state: "running", isLocked: false });
    for (const one of [source.id, id]) {
      const history = await api.call<{ id: string }[]>("GET", `/databases/${one}/operations`);
      expect(history.body.map((operation) => operation.id)).toContain(answer.body.operationId);
    }
  });

  test("has a region that there is, room for its data, and a name that is free", async () => {
    const source = await api.database("running", { plan: "ds2" });
    statusOf(await api.command(source.id, "clone", { name: api.name(), region: "mars" }), 400);
    statusOf(await api.command(source.id, "clone", { name: source.name }), 409);
    statusOf(await api.command(source.id, "clone", {}), 400);
    statusOf(await api.command(source.id, "clone", { name: api.name(), environmentId: "nowhere" }), 400);
    await api.gatehouse.database.query("UPDATE deployments SET storage_bytes = $2 WHERE id = $1", [
      source.id,
      5e9,
    ]);
    const tight = await api.command(source.id, "clone", { name: api.name(), plan: "ds1" });
    statusOf(tight, 409);
    expect(tight.body.error).toContain("the plan ds1 allows");
    statusOf(await api.command(source.id, "plan/change", { targetPlanName: "ds1" }), 409);
  });
});

describe("the connection URL", () => {
  test("is exchanged between two of one engine and region, both held meanwhile", async () => {
    const [one, two] = [await api.database(), await api.database("paused")];
    const answer = await api.command(one.id, "connection-url", { databaseId: two.id });
    statusOf(answer, 202);
    expect((await api.read(one.id)).body.status.state).toBe("restarting");
    expect((await api.read(two.id)).body.status).toMatchObject({
      state: "paused",
      isLocked: true,
      currentOperationId: answer.body.operationId,
    });
    const { payload } = await api.end(answer.body.operationId);
    expect(payload).toMatchObject({ before: "running", other: { deploymentId: two.id, before: "paused" } });
    expect((await api.read(one.id)).body.status.state).toBe("running");
    expect((await api.read(two.id)).body.status.state).toBe("paused");
  });

  test("is exchanged in either order without one waiting for the other for ever", async () => {
    const [one, two] = [await api.database(), await api.database()];
    const answers = await Promise.all([
      api.command(one.id, "connection-url", { databaseId: two.id }),
      api.command(two.id, "connection-url", { databaseId: one.id }),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409]);
  });

  test("is not exchanged with itself, with nothing, or with what the caller does not reach", async () => {
    const { id } = await api.database();
    statusOf(await api.command(id, "connection-url", { databaseId: id }), 400);
    statusOf(await api.command(id, "connection-url", {}), 400);
    statusOf(await api.command(id, "connection-url", { databaseId: id, rotatePassword: true }), 400);
    statusOf(await api.command(id, "connection-url", { databaseId: "no-id" }), 400);
    statusOf(await api.command(id, "connection-url", { databaseId: ID }), 404);
    const other = await api.database();
    await api.gatehouse.database.query("UPDATE deployments SET engine = 'postgres' WHERE id = $1", [
      other.id,
    ]);
    const mixed = await api.command(id, "connection-url", { databaseId: other.id });
    statusOf(mixed, 400);
    expect(mixed.body.error).toContain("must be of the same engine and region");
  });

  test("has another password after a rotation, which no table shows", async () => {
    const { id } = await api.database();
    const urlOf = async () =>
      (await api.call<DatabaseAnswer>("GET", `/databases/${id}?reveal=true`)).body.connectionUrl;
    const before = await urlOf();
    const { operationId } = (await api.command(id, "connection-url", { rotatePassword: true })).body;
    const operation = await api.end(operationId);
    const password = openPassword(api.gatehouse.runtime.masterKey, operation);
    expect(await urlOf()).toBe(before?.replace(/:[^:@]+@/, `:${password}@`));
    expect(await urlOf()).not.toBe(before);
  });
});

describe("the plan", () => {
  test("changes to one that there is and that it is not on", async () => {
    const { id } = await api.database();
    expect((await api.command(id, "plan/change", { targetPlanName: "ds9" })).body.errors?.[0]?.path).toBe(
      "/targetPlanName",
    );
    statusOf(await api.command(id, "plan/change", {}), 400);
    statusOf(await api.command(id, "plan/change", { targetPlanName: "ds1" }), 409);
    const { operationId } = (await api.command(id, "plan/change", { targetPlanName: "ds2" })).body;
    expect((await api.read(id)).body.status.state).toBe("resizing");
    await api.end(operationId);
    expect((await api.read(id)).body).toMatchObject({ plan: "ds2", status: { state: "running" } });
  });
});

describe("in a production environment", () => {
  let production: string;

  beforeAll(async () => {
    const { id, slug } = await api.gatehouse.createProject();
    await api.gatehouse.database.query("UPDATE projects SET environment = 'production' WHERE id = $1", [id]);
    production = slug;
  });

  const make = async (state: DeploymentState = "running") => {
    const database = await api.database(state, { environmentId: production });
    const snapshot = await api.command(database.id, "snapshot");
    await api.end(snapshot.body.operationId, { status: "succeeded", result: archive });
    return { ...database, snapshotId: snapshot.body.snapshotId ?? "" };
  };

  test("what destroys or overwrites needs production:destructive", async () => {
    const database = await make();
    const other = await api.database();
    // `service`: everything of the tenant, and not that.
    const token = await api.token({});
    const attempts: [string, string, object?][] = [
      ["PUT", "terminate"],
      ["PUT", "restore", { snapshotId: database.snapshotId }],
      ["PUT", "connection-url", { databaseId: other.id }],
      ["DELETE", ""],
      ["DELETE", `snapshots/${database.snapshotId}`],
    ];
    for (const [method, path, body] of attempts) {
      const answer = await api.call(method, `/databases/${database.id}/${path}`, {
        token,
        ...(body === undefined ? {} : { body }),
      });
      statusOf(answer, 403);
      expect(answer.headers["www-authenticate"]).toContain('scope="production:destructive"');
    }
    const swapped = await api.command(other.id, "connection-url", { databaseId: database.id }, { token });
    statusOf(swapped, 403);
    const overwritten = { snapshotId: database.snapshotId, databaseId: other.id };
    statusOf(await api.command(database.id, "restore", overwritten, { token }), 202);
  });

  test("what can be taken back does not", async () => {
    const { id } = await make();
    const token = await api.token({});
    for (const [path, body] of [
      ["pause"],
      ["resume"],
      ["restart"],
      ["snapshot"],
      ["export"],
      ["connection-url", { rotatePassword: true }],
      ["plan/change", { targetPlanName: "ds2" }],
      ["clone", { name: api.name() }],
    ] as [string, object?][]) {
      await api.put(id, path === "resume" ? "paused" : "running");
      statusOf(await api.command(id, path, body, { token }), 202);
    }
  });

  test("who has the scope may", async () => {
    const database = await make();
    statusOf(await api.command(database.id, "restore", { snapshotId: database.snapshotId }), 202);
    await api.put(database.id, "running");
    statusOf(await api.call("DELETE", `/databases/${database.id}`), 202);
  });
});

describe("the operations of a database", () => {
  test("are listed newest first, in the text's shape, and read one by one", async () => {
    const { id } = await api.database();
    const { operationId } = (await api.command(id, "pause")).body;
    const listed = await api.call<{ id: string; status: string; startedAt: number | null }[]>(
      "GET",
      `/deployments/databases/graphneo/${id}/operations`,
    );
    expect(listed.body).toMatchObject([
      { id: operationId, status: "started", startedAt: null, durationInSeconds: null },
      { status: "finished", startedAt: expect.any(Number) },
    ]);
    const first = await api.call<unknown[]>("GET", `/databases/${id}/operations?limit=1`);
    expect(first.body).toHaveLength(1);
    expect(first.headers["link"]).toContain('rel="next"');
    await api.end(operationId, {
      status: "failed",
      error: { type: "urn:x", title: "Full", status: 507, detail: "the disk is full" },
    });
    const one = await api.call("GET", `/databases/${id}/operations/${operationId.replaceAll("-", "")}`);
    expect(one.body).toMatchObject({ status: "failed", error: "the disk is full" });
    expect((await api.read(id)).body.status.state).toBe("running");
  });

  test("of another database, or of nobody's, are not there", async () => {
    const [one, two] = [await api.database(), await api.database()];
    const { operationId } = (await api.command(one.id, "pause")).body;
    statusOf(await api.call("GET", `/databases/${two.id}/operations/${operationId}`), 404);
    statusOf(await api.call("GET", `/databases/${one.id}/operations/${ID}`), 404);
    statusOf(await api.call("GET", `/databases/${ID}/operations`), 404);
  });
});
