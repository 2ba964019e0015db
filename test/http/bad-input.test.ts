import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  type Answer,
  type CallOptions,
  type Installation,
  openInstallation,
} from "../support/installation.js";
import { pathWith, type Route, routesOf } from "./core/routes.js";

let gatehouse: Installation;
let routes: Route[];

beforeAll(async () => {
  gatehouse = await openInstallation();
  routes = routesOf(gatehouse.app).filter(({ path }) => path.startsWith("/api/"));
});

let looked = 0;

afterEach(() => {
  const since = gatehouse.log.slice(looked);
  looked = gatehouse.log.length;
  expect(
    since.filter((line) => line.includes('"level":50')),
    "faults of our own",
  ).toEqual([]);
});

afterAll(() => gatehouse.close());

const SOURCES = "/api/v1/project/default/sources";
const SYNC = `/api/v1/jobs/${crypto.randomUUID()}/sync`;
const SOURCE = { name: "s", type: "file", version: "1.0.0", config: { path: "in.csv" } };
/** What is the core API's below its prefix, which other dialects share. */
const CORE =
  /^\/api\/v1\/(audit-events|clients|job-runs|jobs|operations|organizations|projects|resource-servers|users|webhooks)\b/;
const JSON_TYPE = { "content-type": "application/json" };

const nested = (levels: number): string => `${"[".repeat(levels)}${"]".repeat(levels)}`;

/** What is wrong with an answer that should be a clear refusal in the shape of the path's dialect; else null. */
function fault({ status, headers, body, text }: Answer<unknown>, path: string): string | null {
  const type = headers["content-type"] ?? "";
  const { success, message, error, ...problem } = (body ?? {}) as Record<string, unknown>;
  const isProblem =
    type === "application/problem+json" && problem["status"] === status && "detail" in problem;
  const known = path.startsWith("/api/v1/project/")
    ? success === false && typeof message === "string" && error !== undefined
    : isProblem || (error !== undefined && !CORE.test(path));
  return status >= 400 && status < 500 && known ? null : `${status} ${type} ${text.slice(0, 300)}`;
}

async function refused(method: string, path: string, options: CallOptions, status: number): Promise<void> {
  const answer = await gatehouse.call(method, path, options);
  expect(fault(answer, path)).toBeNull();
  expect(answer.status, answer.text).toBe(status);
}

const onBoth = describe.each([
  ["the project API", SOURCES],
  ["the core API", SYNC],
]);

onBoth("a body, to %s,", (_api, path) => {
  test.each([
    ["malformed JSON", '{"name": '],
    ["text after the JSON", "{} {}"],
    ["a word", "nul"],
    ["invalid UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])],
    ["a member __proto__", '{"__proto__": {"polluted": 1}}'],
    ["a member constructor.prototype", '{"a": {"constructor": {"prototype": {"polluted": 1}}}}'],
  ])("with %s is a 400", async (_what, raw) => {
    await refused("POST", path, { raw, headers: JSON_TYPE }, 400);
    expect({}).not.toHaveProperty("polluted");
  });

  test.each([
    ["text/plain"],
    ["application/xml"],
    ["multipart/form-data; boundary=x"],
    ["application/octet-stream"],
    ["nonsense"],
  ])("of the type %s is a 415", async (type) => {
    await refused("POST", path, { raw: "{}", headers: { "content-type": type } }, 415);
  });

  test("of more than 1 MiB is a 413, whether its length is told or not", async () => {
    const raw = JSON.stringify({ ...SOURCE, padding: "x".repeat(1024 * 1024) });
    await refused("POST", path, { raw, headers: JSON_TYPE }, 413);
    const headers = { ...JSON_TYPE, authorization: `Bearer ${await gatehouse.token()}` };
    const body = new Blob([raw]).stream();
    const streamed = await fetch(`${gatehouse.origin}${path}`, {
      method: "POST",
      headers,
      body,
      duplex: "half",
    });
    expect(streamed.status).toBe(413);
  });
});

describe("a body", () => {
  test("of just 1 MiB is read", async () => {
    const frame = JSON.stringify({ ...SOURCE, name: "", padding: "" });
    const body = { ...SOURCE, name: "", padding: "x".repeat(1024 * 1024 - frame.length) };
    await refused("POST", SOURCES, { body }, 400);
  });

  test.each([
    ["no object", "[]"],
    ["null", "null"],
    ["nothing", ""],
    ["100,000 levels", `{"config": ${nested(100_000)}}`],
    ["100,000 levels of text in it", JSON.stringify({ ...SOURCE, config: `{"path": ${nested(100_000)}}` })],
    ["65 levels", JSON.stringify({ ...SOURCE, config: JSON.parse(nested(65)) })],
    ["NUL in a text", JSON.stringify({ ...SOURCE, name: "a\0b" })],
    ["NUL in a config", JSON.stringify({ ...SOURCE, config: { path: "a\0b" } })],
    ["NUL in a config text", JSON.stringify({ ...SOURCE, config: '{"path": "a\\u0000b"}' })],
    [
      "half a UTF-16 pair",
      '{"name": "\\ud800", "type": "file", "version": "1.0.0", "config": {"path": "x"}}',
    ],
    [
      "a member __proto__ in a config text",
      JSON.stringify({ ...SOURCE, config: '{"__proto__": {"path": "x"}}' }),
    ],
  ])("with %s is a 400, and nothing was made", async (_what, raw) => {
    await refused("POST", SOURCES, { raw, headers: JSON_TYPE }, 400);
    const list = await gatehouse.call<{ data: unknown[] }>("GET", SOURCES);
    expect(list.body.data).toEqual([]);
  });

  test("is not coerced: a wrong type in any member of any route's body is a 400", async () => {
    const wrong: string[] = [];
    for (const route of routes) {
      for (const [name, { type }] of Object.entries(route.bodySchema?.properties ?? {})) {
        const value =
          type === "string" ? 1 : type === "boolean" ? "true" : type === "integer" ? "1" : undefined;
        if (value === undefined) continue;
        const path = pathWith(route, VALUES);
        const answer = await gatehouse.call(route.method, path, {
          body: { ...(route.body as object), [name]: value },
        });
        const bad = fault(answer, path) ?? (answer.status === 400 ? null : String(answer.status));
        if (bad !== null) wrong.push(`${route.name} ${name}: ${bad}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("of the core API refuses fields that it does not know", async () => {
    const core = routes.filter(
      ({ path, bodySchema }) => CORE.test(path) && bodySchema?.properties !== undefined,
    );
    const wrong: string[] = [];
    for (const route of core) {
      const path = pathWith(route, VALUES);
      const answer = await gatehouse.call(route.method, path, {
        body: { ...(route.body as object), surprise: 1 },
      });
      if (answer.status !== 400 || !answer.text.includes("/surprise"))
        wrong.push(`${route.name}: ${answer.text}`);
    }
    expect(wrong).toEqual([]);
  });
});

/** Parameters of a path that names nothing, or the first of everything. */
const VALUES = { projectid: "1", id: "1", jobid: "1", name: "source" };

const GARBAGE = [
  "%00",
  "a%00b",
  "..%2f..%2fetc",
  "%F0%9F%92%A5",
  "'%3B%20DROP%20TABLE%20jobs",
  "a".repeat(400),
  "a".repeat(4000),
  "-1",
  "1e3",
  "99999999999999999999",
  "__proto__",
];

describe.each(["%FF", "%", "%E0%A4", "%C0%80"])("the malformed path segment %s", (segment) => {
  test("is a 400 in the shape of its dialect, on every route that has parameters", async () => {
    const wrong: string[] = [];
    for (const route of routes.filter(({ pathParameters }) => pathParameters.length > 0)) {
      for (const name of route.pathParameters) {
        const path = pathWith(route, { ...VALUES, [name]: segment });
        const answer = await gatehouse.call(route.method, path, { body: {} });
        const bad = fault(answer, path) ?? (answer.status === 400 ? null : String(answer.status));
        if (bad !== null) wrong.push(`${route.name} ${name}: ${bad}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

test("garbage in any parameter of any path is a clear refusal", async () => {
  const wrong: string[] = [];
  for (const route of routes) {
    for (const name of route.pathParameters) {
      for (const garbage of GARBAGE) {
        const path = pathWith(route, { ...VALUES, [name]: garbage });
        const answer = await gatehouse.call(route.method, path, { body: route.body });
        const bad = fault(answer, path);
        if (bad !== null) wrong.push(`${route.name} ${name}=${garbage}: ${bad}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

test("garbage in any parameter of any query is a clear refusal, or makes no difference", async () => {
  const cursors = ["-".repeat(36), "999999999", "999999999999999999", "1\n", "0"];
  const encoded = cursors.map((text) => Buffer.from(text).toString("base64url"));
  const wrong: string[] = [];
  for (const route of routes) {
    for (const name of route.queryParameters) {
      for (const garbage of [...GARBAGE, ...encoded, "a%00:b", "", `1&${name}=2`, "%7B%22a%22%3A1%7D"]) {
        const path = `${pathWith(route, VALUES)}${route.query === "" ? "?" : "&"}${name}=${garbage}`;
        const answer = await gatehouse.call(route.method, path, { body: route.body });
        if (answer.status < 300) continue;
        const bad = fault(answer, path);
        if (bad !== null) wrong.push(`${route.name} ${name}=${garbage}: ${bad}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

test.each(["%FF", "%", "%ZZ", "%E0%A4", "a%C0%80b"])(
  "the malformed query value %s is a 400 that says so, on every route that can be read",
  async (value) => {
    for (const route of routes.filter(({ method }) => method === "GET")) {
      const path = `${pathWith(route, VALUES)}${route.query === "" ? "?" : "&"}whatever=${value}`;
      const answer = await gatehouse.call("GET", path);
      expect(fault(answer, path)).toBeNull();
      expect(answer.text, path).toContain("percent-encoded UTF-8");
      expect(answer.status).toBe(400);
    }
  },
);

test("malformed JSON is answered with the place of the fault, and with nothing of what was sent", async () => {
  const told = async (raw: string) =>
    (await gatehouse.call("POST", SOURCES, { raw, headers: JSON_TYPE })).text;
  expect(await told('{"password": "abc123" "x": 1}')).toMatch(
    /not valid JSON: (the fault is at position 22|'"' )/,
  );
  expect(await told('{"password": "abc123", x}')).not.toContain("abc123");
  expect(await told('{"password": ')).toContain("it ends too early");
  expect(await told('{"__proto__": {}}')).toContain("has a member __proto__");
});

describe("what is no HTTP request", () => {
  /** Everything that comes back for these bytes, sent as they are. */
  const exchange = (bytes: Buffer): Promise<string> =>
    new Promise((resolve, reject) => {
      const { port } = new URL(gatehouse.origin);
      const socket = connect(Number(port), "127.0.0.1", () => socket.write(bytes));
      const chunks: Buffer[] = [];
      socket.on("data", (chunk) => chunks.push(chunk));
      socket.on("error", reject);
      socket.on("close", () => resolve(Buffer.concat(chunks).toString()));
    });
  const request = (line: string, ...headers: string[]) =>
    Buffer.from([line, "host: x", ...headers, "", ""].join("\r\n"), "latin1");

  test.each([
    ["raw UTF-8 in the path", "/api/v1/jobs/%C3%BC", request("GET /api/v1/jobs/\xc3\xbc HTTP/1.1"), 400],
    [
      "raw bytes in the path",
      "/api/v1/project/default/%FF",
      request("GET /api/v1/project/default/\xff?k=1 HTTP/1.1"),
      400,
    ],
    [
      "an unknown method",
      "/api/v1/project/default/jobs",
      request("FOO /api/v1/project/default/jobs HTTP/1.1"),
      400,
    ],
    ["a header without a colon", "/api/v1/jobs", request("GET /api/v1/jobs HTTP/1.1", "nonsense"), 400],
    [
      "two lengths",
      "/api/v1/jobs",
      request("GET /api/v1/jobs HTTP/1.1", "content-length: 1", "content-length: 2"),
      400,
    ],
    ["TLS", "/", Buffer.from([0x16, 0x03, 0x01, 0x00, 0xa5, 0x01, 0x00, 0x0d, 0x0a]), 400],
    [
      "a path of 20,000 letters",
      "/api/v1/jobs/",
      request(`GET /api/v1/jobs/${"a".repeat(20_000)} HTTP/1.1`),
      431,
    ],
  ])("such as %s is refused in the shape of its dialect", async (_what, path, bytes, status) => {
    const [head = "", text = ""] = (await exchange(bytes)).split("\r\n\r\n");
    const type = /^content-type: (.*)$/m.exec(head)?.[1]?.trim() ?? "";
    const body = JSON.parse(text) as { readonly instance?: string };
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(fault({ status, headers: { "content-type": type }, body, text }, path)).toBeNull();
    if (body.instance !== undefined) expect(body.instance.slice(0, path.length)).toBe(path);
  });
});

describe("paging", () => {
  const lists = () =>
    routes.filter(({ method, queryParameters }) => method === "GET" && queryParameters.includes("limit"));
  const withCursor = ({ path, queryParameters }: Route) =>
    queryParameters.includes("cursor") && !/\{(id|jobid)\}/.test(path);

  test.each(["0", "-1", "201", "1.5", "abc", "1e9", "1&limit=2", "null"])(
    "with limit=%s is a 400",
    async (limit) => {
      for (const route of lists()) await refused("GET", `${pathWith(route, VALUES)}?limit=${limit}`, {}, 400);
    },
  );

  test.each([
    ["one letter", "x"],
    ["NUL", "%00"],
    ["bytes", "AAAA"],
    ["dashes", "LS0tLS0t"],
    ["300 letters", "a".repeat(300)],
  ])("with %s for a cursor is a 400", async (_what, cursor) => {
    for (const route of lists().filter(withCursor)) {
      await refused("GET", `${pathWith(route, VALUES)}?cursor=${cursor}`, {}, 400);
    }
  });
});

test.each([
  ["GET", "/nothing"],
  ["GET", "/api/v1"],
  ["GET", "/api/v1/nothing"],
  ["GET", "/api/v1/project/default"],
  ["GET", "/api/v1/project/default/nothing/1"],
  ["PATCH", "/api/v1/project/default/sources"],
  ["PATCH", "/api/v1/operations"],
  ["PROPFIND", "/api/v1/operations"],
  ["DELETE", "/healthz"],
])("%s %s, which is no route, is a 404 in the shape of its dialect", async (method, path) => {
  await refused(method, path, {}, 404);
  await refused(method, path, { token: null }, 404);
  expect((await gatehouse.call(method, path, { raw: "{", headers: JSON_TYPE })).status).toBeLessThan(500);
});
