import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import { expectFailure, faultPaths, files, type Numbered, ProjectApi, tablesHolding } from "./support.js";

let gatehouse: Installation;
let api: ProjectApi;

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  api = new ProjectApi(gatehouse);
});

afterAll(() => gatehouse.close());

const MASK = "********";
const SECRET = "correct-horse-battery-staple";
const server = { host: "db.example.com", database: "shop", username: "reader" };

function postgres(name: string, config: object = {}) {
  return { name, type: "postgres", version: "1.0.0", config: { ...server, ...config } };
}

const jobOf = (name: string, source: object, destination: object) => ({
  name,
  source,
  destination,
  frequency: "",
  streams_config: {},
});

describe.each([{ path: "/sources" }, { path: "/destinations" }])("$path", ({ path }) => {
  test("one is read by its integer id, with its jobs", async () => {
    const { id } = await api.make(path, files("readable", "a"));
    const answer = await api.get(`${path}/${id}`);
    expect(answer.body.data).toMatchObject({ ...files("readable", "a"), id, jobs: [] });
    for (const wrong of ["0", "-1", "1.5", "x", "99999999999", "2147483647", "a".repeat(30)]) {
      expectFailure(await api.get(`${path}/${wrong}`), 404, "Resource not found");
    }
    expectFailure(await api.put(`${path}/2147483647`, files("x", "a")), 404, "Resource not found");
    expectFailure(await api.delete(`${path}/2147483647`), 404, "Resource not found");
  });

  test("a config is answered in the form that it was sent in: text stays text, an object an object", async () => {
    const text = '{"path":"a"}';
    const { id } = await api.make(path, { ...files("texted", ""), config: text });
    expect((await api.get<{ config: unknown }>(`${path}/${id}`)).body.data.config).toBe(text);
    const updated = await api.put<{ config: unknown }>(`${path}/${id}`, files("texted", "b"));
    expect(updated.body.data.config).toEqual({ path: "b" });
    expect((await api.get<{ config: unknown }>(`${path}/${id}`)).body.data.config).toEqual({ path: "b" });
  });

  test("a name is unique within its project and kind: 409 that says so, on POST and on PUT", async () => {
    await api.make(path, files("taken", "a"));
    const other = await api.make(path, files("not taken", "a"));
    const sentence = /named "taken" exists already/;
    expectFailure(await api.post(path, files("taken", "b")), 409, sentence);
    expectFailure(await api.put(`${path}/${other.id}`, files("taken", "b")), 409, sentence);
    const project = await gatehouse.createProject();
    await new ProjectApi(gatehouse, project.number).make(path, files("taken", "a"));
  });

  test("a deleted one is gone for every route, and its name is free again", async () => {
    const { id } = await api.make(path, files("phoenix", "a"));
    expect((await api.delete(`${path}/${id}`)).body).toMatchObject({
      success: true,
      data: { name: "phoenix" },
    });
    expectFailure(await api.get(`${path}/${id}`), 404, "Resource not found");
    expectFailure(await api.put(`${path}/${id}`, files("phoenix", "a")), 404, "Resource not found");
    expectFailure(await api.delete(`${path}/${id}`), 404, "Resource not found");
    const again = await api.make(path, files("phoenix", "a"));
    expect(again.id).not.toBe(id);
    const rows = await gatehouse.database.query("SELECT 1 FROM connections WHERE number = $1", [id]);
    expect(rows, "a soft delete keeps the row").toHaveLength(1);
  });

  test("one that jobs use is not deleted: 409 names the jobs, until they are gone", async () => {
    const end = path === "/sources" ? "in use s" : "in use d";
    const source = files(path === "/sources" ? end : `${path} s`, "a");
    const destination = files(path === "/sources" ? `${path} d` : end, "b");
    const jobs = [];
    for (const name of ["first", "second"]) {
      jobs.push(await api.make("/jobs", jobOf(`${end} ${name}`, source, destination)));
    }
    const { id } = (await api.get<Numbered[]>(path)).body.data.find(({ name }) => name === end) ?? { id: 0 };
    expectFailure(
      await api.delete(`${path}/${id}`),
      409,
      new RegExp(`used by: ${end} first, ${end} second;`),
    );
    for (const job of jobs) await api.delete(`/jobs/${job.id}`);
    expect((await api.delete(`${path}/${id}`)).status).toBe(200);
  });

  test("the list has pages by limit and cursor, each with a link to the next", async () => {
    const own = new ProjectApi(gatehouse, (await gatehouse.createProject()).number);
    const all = [];
    for (const name of ["a", "b", "c", "d", "e"]) all.push((await own.make(path, files(name, "x"))).id);
    expect((await own.get<Numbered[]>(path)).body.data.map(({ id }) => id)).toEqual(all);
    const seen: number[] = [];
    let next: string | undefined = `${path}?limit=2`;
    while (next !== undefined) {
      const answer: Awaited<ReturnType<typeof own.get<Numbered[]>>> = await own.get<Numbered[]>(next);
      expect(answer.body.data.length).toBeLessThanOrEqual(2);
      seen.push(...answer.body.data.map(({ id }) => id));
      next = /^<.*?(\/(?:sources|destinations)\?.*)>; rel="next"$/.exec(String(answer.headers["link"]))?.[1];
    }
    expect(seen).toEqual(all);
  });

  test("a config that the connector does not take is a 400 that names each fault by its path", async () => {
    const config = { port: "5432", database: "", surprise: 1 };
    const answer = await api.post(path, { name: "faulty", type: "postgres", version: "1.0.0", config });
    expectFailure(answer, 400, "Bad request");
    expect(faultPaths(answer).sort()).toEqual([
      "/config/database",
      "/config/host",
      "/config/port",
      "/config/surprise",
      "/config/username",
    ]);
  });

  test("an unknown type or version is a 400 that lists what there is", async () => {
    const type = await api.post(path, { ...files("x", "a"), type: "oracle" });
    expectFailure(type, 400, "Bad request");
    expect(type.body.error?.errors).toEqual([
      { path: "/type", message: expect.stringContaining("postgres") },
    ]);
    const version = await api.post(path, { ...files("x", "a"), version: "9.9.9" });
    expect(version.body.error?.errors).toEqual([{ path: "/version", message: "must be one of 1.0.0" }]);
  });

  test.each([["not JSON"], ["[]"], ["1"], ["null"], [""]])(
    "a config text that is no object (%j) is a 400",
    async (config) => {
      const answer = await api.post(path, { ...files("x", "a"), config });
      expectFailure(answer, 400, "Bad request");
      expect(faultPaths(answer)).toEqual(["/config"]);
    },
  );
});

describe("secrets", () => {
  const secretOf = async (id: number): Promise<unknown> => {
    const rows = await gatehouse.database.query<{ id: string }>(
      "SELECT id FROM connections WHERE number = $1",
      [id],
    );
    const { runtime } = gatehouse;
    const [row] = await runtime.prisma.connection.findMany({ where: { id: rows[0]?.id ?? "" } });
    const sealed = runtime.masterKey.decrypt(
      "connection-secrets",
      row?.id ?? "",
      row?.secrets ?? Buffer.alloc(0),
    );
    return JSON.parse(sealed.toString());
  };

  test("are masked in every answer, whatever the form", async () => {
    const created = await api.post<Numbered>("/sources", postgres("secretive", { password: SECRET }));
    const text = JSON.stringify({ ...server, password: SECRET });
    const texted = await api.post<Numbered>("/sources", { ...postgres("secretive text"), config: text });
    const id = created.body.data.id;
    const destination = files("open", "out");
    const job = await api.post<Numbered>(
      "/jobs",
      jobOf("j", postgres("secretive", { password: SECRET }), destination),
    );
    const answers = [
      created,
      texted,
      job,
      await api.get("/sources"),
      await api.get(`/sources/${id}`),
      await api.put(`/sources/${id}`, postgres("secretive", { password: SECRET })),
      await api.get("/jobs"),
      await api.get(`/jobs/${job.body.data.id}`),
      await api.put(
        `/jobs/${job.body.data.id}`,
        jobOf("j", postgres("secretive", { password: SECRET }), destination),
      ),
    ];
    for (const answer of answers) {
      expect(answer.status, answer.text).toBe(200);
      expect(answer.text).toContain(MASK);
      expect(answer.text).not.toContain(SECRET);
    }
  });

  test("sent back masked stay as they are; a new one replaces; one left out is removed", async () => {
    const { id } = await api.make("/sources", postgres("masked back", { password: SECRET }));
    const shown = (await api.get<{ config: object }>(`/sources/${id}`)).body.data.config;
    expect(shown).toEqual({ ...server, password: MASK });
    const moved = { ...shown, host: "other.example.com" };
    expect(
      (await api.put(`/sources/${id}`, { ...postgres("masked back"), config: moved })).body.data,
    ).toMatchObject({
      config: moved,
    });
    expect(await secretOf(id)).toEqual({ password: SECRET });
    await api.put(`/sources/${id}`, postgres("masked back", { password: "another" }));
    expect(await secretOf(id)).toEqual({ password: "another" });
    const without = await api.put(`/sources/${id}`, postgres("masked back"));
    expect(without.body.data).toMatchObject({ config: server });
    expect((await api.get<{ config: object }>(`/sources/${id}`)).body.data.config).toEqual(server);
  });

  test("a mask that stands for nothing is refused, never stored as the secret", async () => {
    const masked = postgres("nothing behind", { password: MASK, database: "unheard of" });
    const created = await api.post("/sources", masked);
    expectFailure(created, 400, "Bad request");
    expect(faultPaths(created)).toEqual(["/config/password"]);
    const { id } = await api.make("/sources", files("changes type", "a"));
    expect(faultPaths(await api.put(`/sources/${id}`, { ...masked, name: "changes type" }))).toEqual([
      "/config/password",
    ]);
    expect(faultPaths(await api.post("/sources/test", masked))).toEqual(["/config/password"]);
    const inJob = await api.post("/jobs", jobOf("masked", masked, files("open", "out")));
    expect(faultPaths(inJob)).toEqual(["/source/config/password"]);
  });

  test("stand nowhere in the database in clear, nor in the log, not even after tests of them", async () => {
    await api.make("/destinations", postgres("at rest", { password: SECRET }));
    const { type, version, config } = postgres("x", { password: SECRET });
    // Nobody works here: the operation stays as it was accepted, and the answer is not waited for.
    api.post("/sources/test", { type, version, config }).catch(() => {});
    await until("the test was accepted", async () => {
      const rows = await gatehouse.database.query("SELECT FROM operations WHERE payload_secrets IS NOT NULL");
      return rows.length > 0;
    });
    expect(await tablesHolding(gatehouse, SECRET)).toEqual([]);
    expect(gatehouse.log.join("")).not.toContain(SECRET);
  });
});

test("check-unique tells of jobs, sources and destinations whether a name is free", async () => {
  const ends = { source: files("checked source", "a"), destination: files("checked destination", "b") };
  const first = { ...jobOf("checked", ends.source, ends.destination), ...ends };
  const { id } = await api.make("/jobs", first);
  const unique = async (entity_type: string, name: string) =>
    (await api.post<{ unique: boolean }>("/check-unique", { entity_type, name })).body.data.unique;
  expect(await unique("job", "checked")).toBe(false);
  expect(await unique("job", first.source.name)).toBe(true);
  expect(await unique("source", first.source.name)).toBe(false);
  expect(await unique("destination", first.source.name)).toBe(true);
  expect(await unique("destination", first.destination.name)).toBe(false);
  await api.delete(`/jobs/${id}`);
  expect(await unique("job", "checked")).toBe(true);
  expectFailure(await api.post("/check-unique", { entity_type: "app", name: "x" }), 400, "Bad request");
});

test("the project is found by slug, number and UUID, with and without dashes", async () => {
  const { id, number, slug } = await gatehouse.createProject({ slug: "many-names" });
  const { name } = await new ProjectApi(gatehouse, slug).make("/sources", files("found", "a"));
  for (const reference of [slug, number, id, id.toUpperCase(), id.replaceAll("-", "")]) {
    const { body } = await new ProjectApi(gatehouse, reference).get<Numbered[]>("/sources");
    expect(body.data.map((each) => each.name)).toEqual([name]);
  }
  for (const reference of ["many", number + 1, "0", "99999999999", crypto.randomUUID()]) {
    expectFailure(await new ProjectApi(gatehouse, reference).get("/sources"), 404, "Resource not found");
  }
});

test("what no worker takes up says nothing of the store: a 503 with Retry-After", async () => {
  const target = { type: "file", version: "1.0.0", config: { path: "anything.csv" } };
  const asked = ["/sources/test", "/sources/streams"].map((path) => api.post(path, target));
  for (const answer of await Promise.all(asked)) {
    expectFailure(answer, 503, /no worker answered/);
    expect(answer.headers["retry-after"]).toBe("5");
  }
});
