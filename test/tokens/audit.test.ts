import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TENANT_SCOPES } from "../../src/auth/scopes.js";
import { until } from "../support/until.js";
import { adminOf, type Credentials, type Fleet, type Instance, openFleet } from "./support.js";

let fleet: Fleet;
let api: Instance;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
});
afterAll(() => fleet.close());

interface Event {
  readonly action: string;
  readonly outcome: string;
  readonly actor: { readonly kind: string; readonly name: string | null };
  readonly target: { readonly type: string; readonly id: string } | null;
  readonly details: Readonly<Record<string, unknown>>;
}

/** What the API shows of the audit log. */
async function events(query: string, client: Credentials = fleet.admin): Promise<Event[]> {
  const { status, text, body } = await api.call(await api.token(client), {
    url: `/api/v1/audit-events?${query}`,
  });
  expect(status, text).toBe(200);
  return body["items"] as Event[];
}

const untilEvent = (query: string, isIt: (event: Event) => boolean): Promise<Event> =>
  until(`an event of ${query}`, async () => (await events(query)).find(isIt));

describe("a credential that is refused stands in the log of whose it is:", () => {
  test("the token of a disabled client", async () => {
    const client = await fleet.newClient();
    const token = await api.token(client);
    await api.services.clients.disable(adminOf(fleet), client.clientId);
    await until("the token is refused", async () => (await api.call(token)).status === 401);
    const { outcome, details } = await untilEvent(
      "action=credential.refused",
      ({ actor }) => actor.name === client.clientId,
    );
    expect([outcome, details["kind"]]).toEqual(["failure", "token"]);
  });

  test("a disabled API key", async () => {
    const { apiKey, secret } = await api.services.apiKeys.create(adminOf(fleet), { name: "over" });
    await api.services.apiKeys.update(adminOf(fleet), apiKey.key, { disabled: true });
    expect((await api.call(secret)).status).toBe(401);
    const { details } = await untilEvent("action=credential.refused", ({ actor }) => actor.name === "over");
    expect(details["kind"]).toBe("key");
  });

  test("what is nobody's stands in that of the installation, which only who runs it reads", async () => {
    expect((await api.call("gh_nobodys")).status).toBe(401);
    const found = await untilEvent(
      "installation=true&action=credential.refused",
      ({ details }) => details["kind"] === "key",
    );
    expect(found.actor.name).toBeNull();
    const tenant = await api.token(await fleet.newClient({ scopes: new Set(TENANT_SCOPES) }));
    const refused = await api.call(tenant, { url: "/api/v1/audit-events?installation=true" });
    expect([refused.status, refused.body["scope"]]).toEqual([403, "platform:admin"]);
  });
});

describe("a token request that asks for more is written down in the name of its client:", () => {
  const ask = (client: Credentials, more: Record<string, string>) =>
    api.post({
      ...{ grant_type: "client_credentials", client_id: client.clientId, client_secret: client.clientSecret },
      ...more,
    });

  test.each([
    ["invalid_scope", { scope: "platform:admin" }],
    ["invalid_target", { audience: "https://nowhere.example/" }],
    ["unauthorized_client", { grant_type: "password", username: "x", password: "y" }],
  ])("%s", async (error, more) => {
    const client = await fleet.newClient({ name: `asks for ${error}` });
    expect((await ask(client, more)).body["error"]).toBe(error);
    const { outcome, details } = await untilEvent(
      "action=token.denied",
      ({ actor }) => actor.name === `asks for ${error}`,
    );
    expect([outcome, details]).toEqual(["denied", { error }]);
  });

  test("the revocation of another client's token", async () => {
    const client = await fleet.newClient({ name: "revokes", scopes: new Set(["job:read"]) });
    const token = await api.token(fleet.admin);
    const form = { token, client_id: client.clientId, client_secret: client.clientSecret };
    expect((await api.post(form, { url: "/oauth/revoke" })).body["error"]).toBe("unauthorized_client");
    const { outcome } = await untilEvent("action=token.revoke", ({ actor }) => actor.name === "revokes");
    expect(outcome).toBe("denied");
  });
});

describe("the use of a client's credentials", () => {
  test("is shown: of the secret that was used, and the tokens of each hour", async () => {
    const client = await fleet.newClient();
    const added = await api.services.clientSecrets.add(adminOf(fleet), client.clientId, 3_600);
    const second = { clientId: client.clientId, clientSecret: added.clientSecret };
    for (let time = 0; time < 3; time += 1) await api.token(second);
    const admin = await api.token(fleet.admin);
    const counts = await until("the tokens are counted", async () => {
      const { body } = await api.call(admin, { url: `/api/v1/clients/${client.id}/tokens` });
      const items = body["items"] as { hour: string; count: number }[];
      return items.reduce((sum, { count }) => sum + count, 0) === 3 && items;
    });
    expect(counts[0]?.hour).toMatch(/:00:00\.000Z$/);
    const secrets = await until("the use is written down", async () => {
      const { body } = await api.call(admin, { url: `/api/v1/clients/${client.id}` });
      const found = body["secrets"] as { id: string; lastUsedAt: string | null }[];
      return found.some(({ lastUsedAt }) => lastUsedAt !== null) && found;
    });
    expect(secrets.filter(({ lastUsedAt }) => lastUsedAt !== null).map(({ id }) => id)).toEqual([
      added.secret.id,
    ]);
  });

  test("is forgotten when audit events are", async () => {
    const { id: clientId } = await fleet.newClient();
    const hour = new Date(Date.now() - 400 * 86_400_000);
    await fleet.prisma.tokenCount.createMany({
      data: [
        { clientId, hour, count: 1 },
        { clientId, hour: new Date(), count: 2 },
      ],
    });
    expect(await api.services.issuedTokens.prune(365, AbortSignal.abort())).toBe(0);
    await api.services.issuedTokens.prune(365);
    const left = await fleet.prisma.tokenCount.findMany({ where: { clientId } });
    expect(left.map(({ count }) => count)).toEqual([2]);
  });
});

describe("the log", () => {
  test("only grows: no statement changes an event, and deleting one is for the retention alone", async () => {
    await api.token(fleet.admin);
    const statements = [
      "UPDATE audit_events SET outcome = 'success'",
      "DELETE FROM audit_events",
      "TRUNCATE audit_events",
    ];
    for (const statement of statements) {
      await expect(fleet.prisma.$executeRawUnsafe(statement)).rejects.toThrow(/append-only/);
    }
    const before = await fleet.prisma.auditEvent.count();
    await fleet.prisma.$executeRaw`INSERT INTO audit_events (id, actor_kind, action, outcome, time)
      VALUES (gen_random_uuid(), 'system', 'long ago', 'success', now() - interval '400 days')`;
    expect(await api.services.auditEvents.prune(365, AbortSignal.abort())).toBe(0);
    expect(await api.services.auditEvents.prune(365)).toBe(1);
    expect(await fleet.prisma.auditEvent.count()).toBe(before);
  });

  test("tells what the start of the installation made", async () => {
    const [event] = await events("action=client.create");
    expect(event?.actor).toMatchObject({ kind: "system" });
    expect(event?.details).toEqual({ clientId: fleet.admin.clientId });
  });
});
