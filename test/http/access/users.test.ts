import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { verifyPassword } from "../../../src/domain/people/passwords.js";
import { type Installation, openInstallation } from "../../support/installation.js";
import { auditOf, type Caller, callerOf, callerWith, generationOf, statusOf } from "./support.js";

interface UserAnswer {
  readonly id: string;
  readonly username: string;
  readonly email: string;
  readonly role: string;
  readonly allProjects: boolean;
  readonly projects: readonly string[];
  readonly disabled: boolean;
  readonly lockedUntil: string | null;
}

let gatehouse: Installation;
let admin: Caller;

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  admin = await callerOf(gatehouse);
});
afterAll(() => gatehouse.close());

const password = "correct horse battery staple";
let count = 0;
const person = (more: object = {}) => {
  count += 1;
  return { username: `person${count}`, email: `person${count}@example.com`, password, ...more };
};

async function make(more: object = {}): Promise<UserAnswer> {
  const made = await admin<UserAnswer>("POST", "/api/v1/users", person(more));
  statusOf(made, 201);
  return made.body;
}

const hashOf = async (id: string) => {
  const [row] = await gatehouse.database.query<{ password_hash: string }>(
    "SELECT password_hash FROM users WHERE id = $1",
    [id],
  );
  return row?.password_hash ?? "";
};

describe("creating", () => {
  test("keeps the password as argon2id alone, and shows it to nobody", async () => {
    const body = person({ role: "operator", projects: ["default"] });
    const made = await admin<UserAnswer>("POST", "/api/v1/users", body);
    statusOf(made, 201);
    expect(made.headers["location"]).toBe(`/api/v1/users/${made.body.id}`);
    expect(made.body).toMatchObject({
      username: body.username,
      role: "operator",
      allProjects: false,
      projects: [gatehouse.project.id],
      disabled: false,
    });
    const hash = await hashOf(made.body.id);
    expect(hash).toMatch(/^\$argon2id\$/);
    expect(await verifyPassword(hash, password)).toBe(true);
    for (const shown of [made.text, (await admin("GET", "/api/v1/users")).text, gatehouse.log.join("")]) {
      expect(shown).not.toContain(hash);
      expect(shown).not.toContain(password);
    }
  });

  test("makes a viewer of all that the caller reaches where nothing else is said", async () => {
    expect(await make()).toMatchObject({ role: "viewer", allProjects: true });
  });

  test("takes names in any case as the same person", async () => {
    const made = await make({ username: "GRACE", email: "Grace@Example.com" });
    expect(made).toMatchObject({ username: "grace", email: "grace@example.com" });
    statusOf(await admin("POST", "/api/v1/users", person({ username: "Grace" })), 409);
    statusOf(await admin("POST", "/api/v1/users", person({ email: "GRACE@example.com" })), 409);
  });

  test("refuses a taken name in the same words whosever it is", async () => {
    const other = await gatehouse.createOrganization();
    const stranger = await callerOf(gatehouse, other.client);
    const { username } = await make();
    const own = await admin<{ detail: string }>("POST", "/api/v1/users", person({ username }));
    const theirs = await stranger<{ detail: string }>("POST", "/api/v1/users", person({ username }));
    expect([own.status, theirs.status]).toEqual([409, 409]);
    expect(theirs.body.detail).toBe(own.body.detail);
  });

  test.each([
    ["no password", { password: undefined }, "/password"],
    ["a short password", { password: "short" }, "/password"],
    ["the name as password", { username: "elizabeth", password: "Elizabeth" }, "/password"],
    ["a name with spaces", { username: "two words" }, "/username"],
    ["an address that is none", { email: "nowhere" }, "/email"],
    ["a role that is none", { role: "root" }, "/role"],
    ["an unknown field", { passwordHash: "$argon2id$" }, "/passwordHash"],
    ["a project that is none", { projects: ["nowhere"] }, "/projects/0"],
    ["an owner of some projects", { role: "owner", projects: ["default"] }, "/allProjects"],
  ])("refuses %s with 400 that names the field", async (_what, wrong, path) => {
    const answer = await admin("POST", "/api/v1/users", person(wrong));
    statusOf(answer, 400);
    expect(answer.body.errors?.map((error) => error.path)).toContain(path);
  });
});

describe("changing", () => {
  test.each<[string, object, object, boolean]>([
    ["the address", {}, { email: "other@example.com" }, false],
    ["a role with more", { role: "viewer" }, { role: "admin" }, false],
    ["a role with less", { role: "admin" }, { role: "viewer" }, true],
    ["a role with other scopes", { role: "viewer" }, { role: "operator" }, true],
    ["fewer projects", {}, { projects: ["default"] }, true],
    ["more projects", { projects: ["default"] }, { allProjects: true }, false],
    ["disabled", {}, { disabled: true }, true],
    ["nothing", {}, {}, false],
  ])("%s: sessions and tokens end where something is taken away", async (_what, first, change, ends) => {
    const { id } = await make(first);
    const answer = await admin<UserAnswer>("PATCH", `/api/v1/users/${id}`, change);
    statusOf(answer, 200);
    const projects = "projects" in change ? { projects: [gatehouse.project.id] } : {};
    expect(answer.body).toMatchObject({ ...change, ...projects });
    expect(await generationOf(gatehouse, "users", id)).toBe(ends ? 2 : 1);
  });

  test("enabling again does not bring old sessions back", async () => {
    const { id } = await make();
    statusOf(await admin("PATCH", `/api/v1/users/${id}`, { disabled: true }), 200);
    statusOf(await admin("PATCH", `/api/v1/users/${id}`, { disabled: true }), 200);
    const enabled = await admin<UserAnswer>("PATCH", `/api/v1/users/${id}`, { disabled: false });
    expect(enabled.body.disabled).toBe(false);
    expect(await generationOf(gatehouse, "users", id)).toBe(2);
  });

  test("to a taken address is a conflict", async () => {
    const [one, other] = [await make(), await make()];
    statusOf(await admin("PATCH", `/api/v1/users/${one.id}`, { email: other.email }), 409);
  });

  test("refuses what is no field, and names that stay", async () => {
    const { id } = await make();
    for (const body of [{ username: "x" }, { password }, { generation: 9 }, { role: "root" }]) {
      statusOf(await admin("PATCH", `/api/v1/users/${id}`, body), 400);
    }
  });
});

describe("a new password", () => {
  test("replaces the old one, ends sessions and a lock-out", async () => {
    const { id } = await make();
    await gatehouse.database.query(
      "UPDATE users SET failed_logins = 9, locked_until = now() + interval '1 hour' WHERE id = $1",
      [id],
    );
    const changed = await admin("POST", `/api/v1/users/${id}/password`, {
      password: "another long password",
    });
    statusOf(changed, 204);
    const hash = await hashOf(id);
    expect(await verifyPassword(hash, "another long password")).toBe(true);
    expect(await verifyPassword(hash, password)).toBe(false);
    expect(await generationOf(gatehouse, "users", id)).toBe(2);
    expect((await admin<UserAnswer>("GET", `/api/v1/users/${id}`)).body.lockedUntil).toBe(null);
  });

  test("keeps the rules of passwords", async () => {
    const { id, username } = await make();
    for (const wrong of [{ password: "short" }, { password: "aaaaaaaaaaaa" }, {}, { password, x: 1 }]) {
      statusOf(await admin("POST", `/api/v1/users/${id}/password`, wrong), 400);
    }
    const long = await make({ username: "a-long-user-name" });
    statusOf(await admin("POST", `/api/v1/users/${long.id}/password`, { password: "A-Long-User-Name" }), 400);
    expect(username).toBeTruthy();
  });
});

describe("the last owner", () => {
  let owners: Caller;
  let organization: string;

  beforeAll(async () => {
    const made = await admin<{ id: string; client: { clientId: string; clientSecret: string } }>(
      "POST",
      "/api/v1/organizations",
      { name: "owned" },
    );
    organization = made.body.id;
    owners = await callerOf(gatehouse, made.body.client);
  });

  const makeOwner = async () =>
    (await owners<UserAnswer>("POST", "/api/v1/users", person({ role: "owner" }))).body.id;
  const owned = async () =>
    (
      await gatehouse.database.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM users WHERE organization_id = $1 AND role = 'owner' AND disabled_at IS NULL",
        [organization],
      )
    )[0]?.n;

  test("is neither demoted, disabled nor deleted until there is another who can log in", async () => {
    const first = await makeOwner();
    const url = `/api/v1/users/${first}`;
    const ways = [
      () => owners("PATCH", url, { role: "admin" }),
      () => owners("PATCH", url, { disabled: true }),
      () => owners("DELETE", url),
    ];
    for (const way of ways) statusOf(await way(), 409);
    const second = await makeOwner();
    statusOf(await owners("PATCH", `/api/v1/users/${second}`, { disabled: true }), 200);
    for (const way of ways) statusOf(await way(), 409);
    statusOf(await owners("PATCH", `/api/v1/users/${second}`, { disabled: false }), 200);
    statusOf(await owners("DELETE", url), 204);
    statusOf(await owners("DELETE", `/api/v1/users/${second}`), 409);
  });

  test("stays, when two owners are removed at the same time", async () => {
    const [one, other] = await Promise.all([makeOwner(), makeOwner()]);
    const rows = await gatehouse.database.query<{ id: string }>(
      "SELECT id FROM users WHERE organization_id = $1 AND role = 'owner'",
      [organization],
    );
    for (const { id } of rows.filter(({ id }) => id !== one && id !== other)) {
      statusOf(await owners("DELETE", `/api/v1/users/${id}`), 204);
    }
    const answers = await Promise.all([
      owners("PATCH", `/api/v1/users/${one}`, { role: "viewer" }),
      owners("DELETE", `/api/v1/users/${other}`),
    ]);
    expect(answers.map(({ status }) => status).filter((status) => status === 409)).toHaveLength(1);
    expect(await owned()).toBe(1);
  });
});

test("a deleted user is gone, and so are its sessions", async () => {
  const { id } = await make();
  statusOf(await admin("DELETE", `/api/v1/users/${id}`), 204);
  statusOf(await admin("GET", `/api/v1/users/${id}`), 404);
  statusOf(await admin("DELETE", `/api/v1/users/${id}`), 404);
});

test("another organization's users, and those who reach further, do not exist", async () => {
  const other = await gatehouse.createOrganization();
  const mine = await gatehouse.createProject();
  const strangers = [
    await callerOf(gatehouse, other.client),
    await callerWith(gatehouse, { projects: [mine.id] }),
  ];
  const { id } = await make();
  for (const stranger of strangers) {
    statusOf(await stranger("GET", `/api/v1/users/${id}`), 404);
    statusOf(await stranger("PATCH", `/api/v1/users/${id}`, { role: "viewer" }), 404);
    statusOf(await stranger("POST", `/api/v1/users/${id}/password`, { password }), 404);
    statusOf(await stranger("DELETE", `/api/v1/users/${id}`), 404);
    const list = await stranger<{ items: UserAnswer[] }>("GET", "/api/v1/users");
    expect(list.body.items).toEqual([]);
  }
});

test("every change is written down, and no password is", async () => {
  const { id } = await make();
  await admin("PATCH", `/api/v1/users/${id}`, { role: "operator" });
  await admin("POST", `/api/v1/users/${id}/password`, { password: "another long password" });
  await admin("DELETE", `/api/v1/users/${id}`);
  const events = await auditOf(gatehouse, id);
  expect(events.map(({ action }) => action)).toEqual([
    "user.create",
    "user.update",
    "user.password.reset",
    "user.delete",
  ]);
  expect(JSON.stringify(events)).not.toMatch(/argon2|another long|correct horse/);
});
