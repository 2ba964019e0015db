import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreatedClient } from "../../src/auth/clients.js";

import {
  adminOf,
  type Fleet,
  type Instance,
  lasts,
  type NewUser,
  openFleet,
  PASSWORD,
  PROMISE_MS,
} from "./support.js";

let fleet: Fleet;
let api: Instance;
let deaf: Instance;
let client: CreatedClient;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
  deaf = await fleet.open({ signals: false });
  client = await fleet.newClient({ grantTypes: ["password"] });
});
afterAll(() => fleet.close());

async function signIn(user: Partial<NewUser> = {}): Promise<{ id: string; token: string }> {
  const { id, username } = await fleet.newUser(user);
  const { body } = await api.post({
    ...{ grant_type: "password", username, password: PASSWORD },
    ...{ client_id: client.clientId, client_secret: client.clientSecret },
  });
  const token = String(body["access_token"]);
  for (const each of [api, deaf]) expect((await each.call(token, { method: "POST" })).status).toBe(200);
  return { id, token };
}

/** That a token stops being good for something in every process within a second. */
async function expectEnd(token: string, isGood: (status: number) => boolean): Promise<void> {
  const ends = [api, deaf].map((each) =>
    lasts(async () => isGood((await each.call(token, { method: "POST" })).status)),
  );
  for (const end of await Promise.all(ends)) expect(end).toBeLessThan(PROMISE_MS);
}

describe("the token of a person ends in every process within a second", () => {
  test("of being disabled, and stays so when enabled again", async () => {
    const { id, token } = await signIn();
    await fleet.prisma.user.update({
      where: { id },
      data: { disabledAt: new Date(), generation: { increment: 1 } },
    });
    await expectEnd(token, (status) => status === 200);
    await fleet.prisma.user.update({ where: { id }, data: { disabledAt: null } });
    await api.access.users.reload(id);
    expect((await api.call(token)).status).toBe(401);
  });

  test("of a change of the password", async () => {
    const { id, token } = await signIn();
    await api.services.users.resetPassword(adminOf(fleet), id, "another horse battery staple");
    await expectEnd(token, (status) => status === 200);
  });

  test("of a narrower role", async () => {
    const { id, token } = await signIn();
    await api.services.users.update(adminOf(fleet), id, { role: "viewer" });
    await expectEnd(token, (status) => status === 200);
  });

  test("of being deleted", async () => {
    const { id, token } = await signIn();
    await api.services.users.delete(adminOf(fleet), id);
    await expectEnd(token, (status) => status === 200);
  });

  test("of its client's being disabled, or losing scopes", async () => {
    const former = client;
    const { token } = await signIn();
    await api.services.clients.update(adminOf(fleet), former.clientId, { scopes: ["job:read"] });
    await expectEnd(token, (status) => status === 200);
    client = await fleet.newClient({ grantTypes: ["password"] });
    const second = await signIn();
    await api.services.clients.disable(adminOf(fleet), client.clientId);
    await expectEnd(second.token, (status) => status === 200);
    client = await fleet.newClient({ grantTypes: ["password"] });
  });

  test("of its organization's being disabled", async () => {
    const { id: organizationId } = await fleet.newOrganization();
    const former = client;
    client = await fleet.newClient({ grantTypes: ["password"], organizationId });
    const { token } = await signIn({ organizationId });
    client = former;
    await api.services.organizations.disable(adminOf(fleet), organizationId);
    await expectEnd(token, (status) => status === 200);
  });
});
