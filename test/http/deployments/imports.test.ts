import { createHash, randomBytes } from "node:crypto";
import { utimes } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { cleanUpArchives } from "../../../src/domain/deployments/cleanup.js";
import { FolderBlobs } from "../../../src/platform/blobs.js";
import { until } from "../../support/until.js";
import { statusOf } from "../access/support.js";
import { type CommandAnswer, type DatabaseAnswer, type DeploymentsApi, openDeployments } from "./support.js";

let api: DeploymentsApi;
let blobs: FolderBlobs;
let database: DatabaseAnswer;

beforeAll(async () => {
  api = await openDeployments({ env: { IMPORT_LIMIT_MIB: "1" } });
  blobs = new FolderBlobs(api.gatehouse.runtime.config.blobsRoot);
});
beforeEach(async () => {
  database = await api.database();
});
afterAll(() => api.gatehouse.close());

const BOUNDARY = "a-boundary-of-the-tests";
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`;

/** One part of a form; without a file name it is a plain field. */
function part(name: string, content: string | Buffer, fileName?: string): Buffer {
  const file = fileName === undefined ? "" : `; filename="${fileName}"`;
  const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n`;
  const type = fileName === undefined ? "" : "Content-Type: application/octet-stream\r\n";
  return Buffer.concat([Buffer.from(`${head}${type}\r\n`), Buffer.from(content), Buffer.from("\r\n")]);
}

const form = (...parts: Buffer[]): Buffer => Buffer.concat([...parts, Buffer.from(`--${BOUNDARY}--\r\n`)]);
const CONTENT = randomBytes(200_000);

const send = (raw: Buffer, id = database.id, headers: Record<string, string> = {}, token?: string) =>
  api.call<CommandAnswer>("POST", `/deployments/databases/graphneo/${id}/import`, {
    raw,
    headers: { "content-type": TYPE, ...headers },
    ...(token === undefined ? {} : { token }),
  });

const uploads = async (): Promise<string[]> => {
  const keys: string[] = [];
  for await (const { key } of blobs.list("uploads")) keys.push(key);
  return keys;
};

interface Uploaded {
  readonly upload: { readonly blobKey: string; readonly bytes: number; readonly sha256: string };
}

describe("an archive", () => {
  test("is stored before the operation is accepted, which names it", async () => {
    const answer = await send(form(part("file", CONTENT, "dump.rdb")));
    statusOf(answer, 202);
    expect((await api.read(database.id)).body.status.state).toBe("importing");
    const { payload } = await api.end(answer.body.operationId);
    const { upload } = payload as Uploaded;
    expect(upload).toMatchObject({
      bytes: CONTENT.length,
      sha256: createHash("sha256").update(CONTENT).digest("hex"),
    });
    expect(await uploads()).toContain(upload.blobKey);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await uploads()).not.toContain(upload.blobKey);
  });

  test("is kept for as long as its operation has not ended", async () => {
    const answer = await send(form(part("file", CONTENT, "dump.rdb")));
    const [key = ""] = await uploads();
    await utimes(join(api.gatehouse.runtime.config.blobsRoot, key), 1, 1);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await uploads()).toEqual([key]);
    await api.end(answer.body.operationId);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await uploads()).toEqual([]);
  });

  test("whose process died before there was an operation is removed later, and not while it may still come", async () => {
    const { Readable } = await import("node:stream");
    await blobs.put("uploads/orphan", Readable.from([CONTENT]), { maxBytes: 1e6 });
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await uploads()).toEqual(["uploads/orphan"]);
    await utimes(join(api.gatehouse.runtime.config.blobsRoot, "uploads/orphan"), 1, 1);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs, AbortSignal.abort());
    expect(await uploads()).toEqual(["uploads/orphan"]);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await uploads()).toEqual([]);
  });
});

describe("a form", () => {
  test.each<[string, () => Buffer, RegExp]>([
    ["without a file", () => form(), /\/file is required/],
    ["whose file is a plain field", () => form(part("file", "text")), /\/file .*send file alone/],
    [
      "with a file under another name",
      () => form(part("archive", CONTENT, "a.rdb")),
      /\/archive is not a field/,
    ],
    [
      "with two files",
      () => form(part("file", CONTENT, "a.rdb"), part("file", CONTENT, "b.rdb")),
      /\/file is there twice/,
    ],
    [
      "with a field besides",
      () => form(part("file", CONTENT, "a.rdb"), part("note", "hello")),
      /\/note is not a field/,
    ],
    [
      "with a path in the name",
      () => form(part("file", CONTENT, "../../etc/passwd")),
      /has a path in its file name/,
    ],
    [
      "with another system's path",
      () => form(part("file", CONTENT, "C:\\\\dumps\\\\a.rdb")),
      /has a path in its file name/,
    ],
    ["with an empty file", () => form(part("file", "", "a.rdb")), /\/file is empty/],
    ["that breaks off", () => part("file", CONTENT, "a.rdb").subarray(0, 1_000), /broken off/],
  ])("%s is a 400 that says so, and nothing of it stays", async (_what, make, message) => {
    const answer = await send(make());
    statusOf(answer, 400);
    expect(answer.body.error).toMatch(message);
    expect(await uploads()).toEqual([]);
    expect((await api.read(database.id)).body.status.state).toBe("running");
  });

  test("whose file is larger than the limit is a 413, and nothing of it stays", async () => {
    const answer = await send(form(part("file", Buffer.alloc(1024 ** 2 + 1), "a.rdb")));
    statusOf(answer, 413);
    expect(answer.body.error).toContain("larger than 1048576 bytes");
    expect(await uploads()).toEqual([]);
  });

  test("that is none is a 400 or a 415", async () => {
    const headers = { "content-type": "application/json" };
    statusOf(await send(Buffer.from("{}"), database.id, headers), 415);
    const broken = await send(Buffer.from("{}"), database.id, { "content-type": "multipart/form-data" });
    statusOf(broken, 400);
  });
});

describe("an import", () => {
  test("that may not be is refused before the archive is read", async () => {
    const archive = form(part("file", CONTENT, "a.rdb"));
    await api.put(database.id, "paused");
    statusOf(await send(archive), 409);
    statusOf(await send(archive, "0199b3c0-0a1b-7c2d-8e3f-405162738400"), 404);
    const reader = await api.token({ scopes: ["deployment:read"] });
    statusOf(await send(archive, database.id, {}, reader), 403);
    const stranger = await api.tokenOf((await api.gatehouse.createOrganization()).client);
    statusOf(await send(archive, database.id, {}, stranger), 404);
    expect(await uploads()).toEqual([]);
  });

  test("into production needs production:destructive", async () => {
    const { id, slug } = await api.gatehouse.createProject();
    await api.gatehouse.database.query("UPDATE projects SET environment = 'production' WHERE id = $1", [id]);
    const live = await api.database("running", { environmentId: slug });
    const archive = form(part("file", CONTENT, "a.rdb"));
    statusOf(await send(archive, live.id, {}, await api.token({})), 403);
    const accepted = await send(archive, live.id);
    statusOf(accepted, 202);
    await api.end(accepted.body.operationId);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
  });

  test("that another command is quicker than leaves nothing", async () => {
    const answers = await Promise.all([1, 2, 3].map(() => send(form(part("file", CONTENT, "a.rdb")))));
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409]);
    expect(await uploads()).toHaveLength(1);
    const accepted = answers.find(({ status }) => status === 202);
    await api.end(accepted?.body.operationId ?? "");
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
  });

  test("sent again under its Idempotency-Key is answered alike, without a second archive", async () => {
    const archive = form(part("file", CONTENT, "a.rdb"));
    const key = { "idempotency-key": "import-of-the-morning" };
    const first = await send(archive, database.id, key);
    statusOf(first, 202);
    const again = await send(archive, database.id, key);
    expect(again.body).toEqual(first.body);
    expect(again.headers["idempotent-replayed"]).toBe("true");
    expect(await uploads()).toHaveLength(1);
    await api.end(first.body.operationId);
    // Whatever the file was called, and whatever became of the database.
    await api.put(database.id, "paused");
    const later = await send(form(part("file", CONTENT, "b.rdb")), database.id, key);
    expect([later.status, later.body]).toEqual([202, first.body]);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await uploads()).toEqual([]);
  });

  test("of another archive under the same Idempotency-Key is a 422, and of no form a 400: nothing of them stays", async () => {
    const key = { "idempotency-key": "import-of-the-evening" };
    const first = await send(form(part("file", CONTENT, "a.rdb")), database.id, key);
    statusOf(first, 202);
    const kept = await uploads();
    // As long, and of the same name: one byte differs.
    const other = Buffer.from(CONTENT);
    other.writeUInt8(other.readUInt8(0) ^ 1);
    statusOf(await send(form(part("file", other, "a.rdb")), database.id, key), 422);
    statusOf(await send(form(part("file", CONTENT, "a.rdb"), part("note", "x")), database.id, key), 400);
    statusOf(await send(part("file", CONTENT, "a.rdb").subarray(0, 1_000), database.id, key), 400);
    statusOf(await send(form(part("file", Buffer.alloc(1024 ** 2 + 1), "a.rdb")), database.id, key), 413);
    expect(await uploads()).toEqual(kept);
    await api.end(first.body.operationId);
    statusOf(await send(form(part("file", other, "a.rdb")), database.id, key), 422);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await uploads()).toEqual([]);
  });

  test("that was refused leaves its Idempotency-Key free, for any archive", async () => {
    const key = { "idempotency-key": "import-of-the-night" };
    await api.put(database.id, "paused");
    statusOf(await send(form(part("file", CONTENT, "a.rdb")), database.id, key), 409);
    await api.put(database.id, "running");
    statusOf(await send(form(), database.id, key), 400);
    const accepted = await send(form(part("file", Buffer.from("another"), "a.rdb")), database.id, key);
    statusOf(accepted, 202);
    expect(accepted.headers["idempotent-replayed"]).toBeUndefined();
    await api.end(accepted.body.operationId);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
  });

  test("sent three times at once under one Idempotency-Key is one, and the others are told to come again", async () => {
    const key = { "idempotency-key": "import-of-all" };
    const archives = ["one", "one", "two"].map((text) => form(part("file", text, "a.rdb")));
    const answers = await Promise.all(archives.map((archive) => send(archive, database.id, key)));
    const accepted = answers.filter(({ status }) => status === 202);
    expect(new Set(accepted.map(({ body }) => body.operationId)).size).toBe(1);
    for (const { status, headers } of answers) {
      if (status === 409) expect(headers["retry-after"]).toBe("1");
      else expect([202, 422]).toContain(status);
    }
    const settled = await Promise.all(archives.map((archive) => send(archive, database.id, key)));
    expect([
      ["202", "202", "422"],
      ["202", "422", "422"],
    ]).toContainEqual(settled.map(({ status }) => String(status)).sort());
    expect(await uploads()).toHaveLength(1);
    await api.end(accepted[0]?.body.operationId ?? "");
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
  });

  test("whose client goes away in the middle leaves nothing", async () => {
    const { port } = new URL(api.gatehouse.origin);
    const token = await api.gatehouse.token();
    const socket = connect(Number(port), "127.0.0.1");
    socket.write(
      `PUT /databases/${database.id}/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Type: ${TYPE}\r\nContent-Length: 900000\r\n\r\n`,
    );
    socket.write(part("file", CONTENT, "a.rdb").subarray(0, 100_000));
    const unfinished = async () => {
      const { readdir } = await import("node:fs/promises");
      const folder = join(api.gatehouse.runtime.config.blobsRoot, ".unfinished");
      return (await readdir(folder).catch(() => [])).length;
    };
    await until("some of it is stored", async () => (await unfinished()) === 1);
    socket.destroy();
    await until("nothing of it is left", async () => (await unfinished()) === 0);
    expect(await uploads()).toEqual([]);
    expect((await api.read(database.id)).body.status.state).toBe("running");
  });
});
