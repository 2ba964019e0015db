import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation.js";
import { expectFailure, faultPaths, files, type Numbered, ProjectApi } from "./support.js";

let gatehouse: Installation;
let api: ProjectApi;

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  api = new ProjectApi(gatehouse);
});

afterAll(() => gatehouse.close());

interface Job extends Numbered {
  readonly frequency: string;
  readonly activate: boolean;
  readonly streams_config: unknown;
}

let made = 0;

/** A job's body with connections of its own, and these changes. */
function job(changes: object = {}) {
  made += 1;
  return {
    name: `job ${made}`,
    source: files(`source ${made}`, "in.csv"),
    destination: files(`destination ${made}`, "out"),
    frequency: "",
    streams_config: {},
    ...changes,
  };
}

const countOf = async (path: string): Promise<number> => (await api.get<unknown[]>(path)).body.data.length;

describe("source and destination inline", () => {
  test("of unknown names are created with the job, and reused by the next one", async () => {
    const [sources, destinations] = [await countOf("/sources"), await countOf("/destinations")];
    const first = job();
    await api.make("/jobs", first);
    await api.make("/jobs", { ...first, name: "reuses" });
    expect(await countOf("/sources")).toBe(sources + 1);
    expect(await countOf("/destinations")).toBe(destinations + 1);
    const listed = await api.get<{ name: string; jobs: Numbered[] }[]>("/sources");
    const jobs = listed.body.data.find(({ name }) => name === first.source.name)?.jobs ?? [];
    expect(jobs.map(({ name }) => name)).toEqual([first.name, "reuses"]);
  });

  test("with a masked secret, or with defaults left out or spelled out, mean the same one", async () => {
    const server = { host: "db.example.com", database: "shop", username: "reader" };
    const config = { ...server, password: "secret of the shop" };
    const source = { name: "shop", type: "postgres", version: "1.0.0", config };
    await api.make("/jobs", job({ source }));
    const before = await countOf("/sources");
    for (const same of [
      { ...server, password: "********" },
      { ...config, port: 5432, schemas: ["public"] },
      JSON.stringify({ ...server, password: "********" }),
    ]) {
      await api.make("/jobs", job({ source: { ...source, config: same } }));
    }
    expect(await countOf("/sources")).toBe(before);
  });

  test.each([
    ["type", { type: "postgres", config: { host: "h", database: "d", username: "u" } }],
    ["config", { config: { path: "other.csv" } }],
  ])("of a known name with another %s are a 409 that changes nothing", async (_what, change) => {
    const first = job();
    await api.make("/jobs", first);
    const [jobs, destinations] = [await countOf("/jobs"), await countOf("/destinations")];
    const answer = await api.post("/jobs", job({ source: { ...first.source, ...change } }));
    expectFailure(answer, 409, new RegExp(`named "${first.source.name}" exists with another`));
    expect(await countOf("/jobs")).toBe(jobs);
    expect(await countOf("/destinations")).toBe(destinations);
    const { data } = (await api.get<(typeof first.source)[]>("/sources")).body;
    expect(data.find(({ name }) => name === first.source.name)).toMatchObject(first.source);
  });

  test("of a deleted name are created anew", async () => {
    const first = job();
    const { id } = await api.make("/jobs", first);
    await api.delete(`/jobs/${id}`);
    const sources = (await api.get<Numbered[]>("/sources")).body.data;
    const old = sources.find(({ name }) => name === first.source.name)?.id ?? 0;
    expect((await api.delete(`/sources/${old}`)).status).toBe(200);
    await api.make("/jobs", { ...first, source: { ...first.source, config: { path: "new.csv" } } });
    const now = (await api.get<Numbered[]>("/sources")).body.data.find(
      ({ name }) => name === first.source.name,
    );
    expect(now?.id).not.toBe(old);
  });

  test("of one new name in many requests at once are one: the others reuse it or are a 409", async () => {
    const shared = { source: files("all at once", "in.csv"), destination: files("all at once", "out") };
    const answers = await Promise.all(Array.from({ length: 10 }, () => api.post("/jobs", job(shared))));
    const statuses = new Set(answers.map(({ status }) => status));
    expect([...statuses].filter((status) => status !== 200 && status !== 409)).toEqual([]);
    expect(statuses).toContain(200);
    const sources = (await api.get<Numbered[]>("/sources")).body.data;
    expect(sources.filter(({ name }) => name === "all at once")).toHaveLength(1);
  });

  test("deleted while a job is made with them are never used by it", async () => {
    for (let round = 0; round < 10; round++) {
      const source = files(`contested ${round}`, "in.csv");
      const { id } = await api.make("/sources", source);
      await Promise.all([api.post("/jobs", job({ source })), api.delete(`/sources/${id}`)]);
    }
    const orphans = await gatehouse.database.query(
      `SELECT FROM job_connections u JOIN jobs j ON j.id = u.job_id JOIN connections c ON c.id = u.connection_id
       WHERE j.deleted_at IS NULL AND c.deleted_at IS NOT NULL`,
    );
    expect(orphans).toHaveLength(0);
  });

  test("with faults are a 400 that names each by its path, and leave nothing behind", async () => {
    const sources = await countOf("/sources");
    const wrong = { ...files("faulty", ""), config: { format: "xml" } };
    const answer = await api.post("/jobs", job({ destination: wrong }));
    expectFailure(answer, 400, "Bad request");
    expect(faultPaths(answer).sort()).toEqual(["/destination/config/format", "/destination/config/path"]);
    const unknown = await api.post("/jobs", job({ source: { ...wrong, type: "oracle" } }));
    expect(faultPaths(unknown)).toEqual(["/source/type"]);
    const incomplete = await api.post("/jobs", { name: "x", source: { name: "y" } });
    expect(faultPaths(incomplete)).toEqual(
      expect.arrayContaining([
        "/destination",
        "/streams_config",
        "/source/type",
        "/source/version",
        "/source/config",
      ]),
    );
    expect(await countOf("/sources")).toBe(sources);
  });

  test("whose versions do not go together are a 400 that says so", async () => {
    const answer = await api.post(
      "/jobs",
      job({ destination: { ...files("newer", "out"), version: "2.0.0" } }),
    );
    expectFailure(answer, 400, "Bad request");
    expect(faultPaths(answer)).toEqual(["/destination/version"]);
  });
});

describe("frequency", () => {
  test.each(["0 3 * * *", "*/5 * * * 1-5", "@daily", "@hourly", "@weekly", ""])(
    "%j is taken",
    async (frequency) => {
      expect(await api.make<Job>("/jobs", job({ frequency }))).toMatchObject({ frequency });
    },
  );

  test("may be left out, which means manual", async () => {
    expect(await api.make<Job>("/jobs", job({ frequency: undefined }))).toMatchObject({ frequency: "" });
  });

  test.each([
    "sometimes",
    "* * * *",
    "0 0 3 * * *",
    "60 * * * *",
    "@reboot",
    "2030-01-01T00:00:00",
    "0 0 31 2 *",
  ])("%j is a 400 that names it", async (frequency) => {
    const answer = await api.post("/jobs", job({ frequency }));
    expectFailure(answer, 400, "Bad request");
    expect(faultPaths(answer)).toEqual(["/frequency"]);
  });
});

describe("streams_config", () => {
  test.each([
    ["a stream without a name", { streams: [{ selected: true }] }, ["/streams_config/streams/0/name"]],
    ["a stream that is no object", { streams: [1] }, ["/streams_config/streams/0"]],
    [
      "an unknown sync mode",
      { streams: [{ name: "a", sync_mode: "magic" }] },
      ["/streams_config/streams/0/sync_mode"],
    ],
    [
      "a namespace that is no text",
      { streams: [{ name: "a", namespace: 1 }] },
      ["/streams_config/streams/0/namespace"],
    ],
    ["streams that are no list", { streams: {} }, ["/streams_config/streams"]],
    [
      "a stream twice, in another namespace too",
      { streams: [{ name: "a", namespace: "x" }, { name: "b" }, { name: "a", namespace: "y" }] },
      ["/streams_config/streams/2/name"],
    ],
    ["no stream selected", { streams: [{ name: "a", selected: false }] }, ["/streams_config/streams"]],
    ["an unknown field", { tables: [] }, ["/streams_config/tables"]],
    ["text that is no JSON", "{", ["/streams_config"]],
  ])("with %s is a 400 that names its path", async (_what, streams_config, paths) => {
    const answer = await api.post("/jobs", job({ streams_config }));
    expectFailure(answer, 400, "Bad request");
    expect(faultPaths(answer)).toEqual(paths);
  });

  test("is answered in the form that it was sent in", async () => {
    const config = { streams: [{ name: "in", selected: true, sync_mode: "full_refresh", extra: [1] }] };
    const object = await api.make<Job>("/jobs", job({ streams_config: config }));
    expect(object.streams_config).toEqual(config);
    const text = await api.make<Job>("/jobs", job({ streams_config: JSON.stringify(config) }));
    expect(text.streams_config).toBe(JSON.stringify(config));
    expect((await api.get<Job>(`/jobs/${text.id}`)).body.data.streams_config).toBe(JSON.stringify(config));
  });
});

describe("a job", () => {
  test("has a name that is unique in its project: 409 on POST and on PUT, free again after a delete", async () => {
    const first = job();
    const { id } = await api.make("/jobs", first);
    const second = job();
    const other = await api.make("/jobs", second);
    const sentence = new RegExp(`a job named "${first.name}" exists already`);
    expectFailure(await api.post("/jobs", job({ name: first.name })), 409, sentence);
    expectFailure(await api.put(`/jobs/${other.id}`, { ...second, name: first.name }), 409, sentence);
    await api.delete(`/jobs/${id}`);
    expectFailure(await api.get(`/jobs/${id}`), 404, "Resource not found");
    expectFailure(await api.delete(`/jobs/${id}`), 404, "Resource not found");
    expectFailure(await api.post(`/jobs/${id}/sync`), 404, "Resource not found");
    await api.make("/jobs", job({ name: first.name }));
  });

  test("gets a new version with every PUT, and keeps its id", async () => {
    const first = job();
    const { id } = await api.make("/jobs", first);
    const versions = () =>
      gatehouse.database.query<{ version: number }>(
        "SELECT v.version FROM job_versions v JOIN jobs j ON j.id = v.job_id WHERE j.number = $1 ORDER BY 1",
        [id],
      );
    expect(await versions()).toEqual([{ version: 0 }]);
    const changed = {
      ...first,
      name: "renamed",
      destination: files("elsewhere", "there"),
      frequency: "@daily",
    };
    expect((await api.put<Job>(`/jobs/${id}`, changed)).body.data).toMatchObject({ ...changed, id });
    expect(await versions()).toEqual([{ version: 0 }, { version: 1 }]);
    expect((await api.get<Job>(`/jobs/${id}`)).body.data).toMatchObject({ ...changed, id });
    expectFailure(await api.put("/jobs/2147483647", changed), 404, "Resource not found");
  });

  test("is turned off and on by activate, and a PUT without the field keeps that", async () => {
    const first = job({ frequency: "@daily" });
    const { id } = await api.make("/jobs", first);
    expect((await api.post(`/jobs/${id}/activate`, { activate: false })).body.data).toEqual({
      activate: false,
    });
    expect((await api.put<Job>(`/jobs/${id}`, first)).body.data.activate).toBe(false);
    expect((await api.get<Job>(`/jobs/${id}`)).body.data.activate).toBe(false);
    expect((await api.put<Job>(`/jobs/${id}`, { ...first, activate: true })).body.data.activate).toBe(true);
    for (const body of [{ activate: "true" }, { activate: 1 }, {}]) {
      expectFailure(await api.post(`/jobs/${id}/activate`, body), 400, "Bad request");
    }
    expectFailure(await api.post("/jobs/2147483647/activate", { activate: true }), 404, "Resource not found");
  });

  test("is one of a list with pages, filtered by source and destination", async () => {
    const own = new ProjectApi(gatehouse, (await gatehouse.createProject()).number);
    const [source, destination] = [files("shared", "in.csv"), files("shared", "out")];
    const ids = [];
    for (const name of ["a", "b", "c"]) {
      ids.push((await own.make("/jobs", { ...job(), name, source, destination })).id);
    }
    await own.make("/jobs", job({ name: "other" }));
    const shared = (await own.get<Numbered[]>("/sources")).body.data.find(({ name }) => name === "shared");
    const page = await own.get<Numbered[]>(`/jobs?source_id=${shared?.id}&limit=2`);
    expect(page.body.data.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    const next = /^<(.*)>; rel="next"$/.exec(String(page.headers["link"]))?.[1] ?? "";
    const rest = await gatehouse.call<{ data: Numbered[] }>("GET", next);
    expect(rest.body.data.map(({ id }) => id)).toEqual(ids.slice(2));
    expect(rest.headers["link"]).toBeUndefined();
  });
});
