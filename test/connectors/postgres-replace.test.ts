import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ConnectorError } from "../../src/connectors/connector.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { configOf, context, failure, PEOPLE, postgres, rowsOf, sync, tablesOf } from "./postgres-support.js";

let from: TestDatabase;
let to: TestDatabase;
let jobId = "";
let run = 0;

beforeAll(async () => {
  [from, to] = await Promise.all([createDatabase({ empty: true }), createDatabase({ empty: true })]);
});

afterAll(async () => {
  await Promise.all([from?.drop(), to?.drop()]);
});

beforeEach(async () => {
  jobId = randomUUID();
  run = 0;
  await from.query("CREATE TABLE people (id int PRIMARY KEY, name text, age int)");
  await from.query("INSERT INTO people VALUES (1, 'Ann', 30), (2, 'Bob', 40)");
  await runOnce();
});

afterEach(async () => {
  await from.query("DROP TABLE people CASCADE");
  await to.query("DROP SCHEMA public CASCADE");
  await to.query("CREATE SCHEMA public");
});

/** The next run of the job; gives the lines of its log. */
async function runOnce(): Promise<string[]> {
  run += 1;
  const running = context();
  await sync({ from, to, streams: ["people"], fence: { jobId, run, attempt: 1 }, context: running });
  return running.lines;
}

async function people(columns = "id, name, age"): Promise<unknown[]> {
  return to.query(`SELECT ${columns} FROM people ORDER BY id`);
}

const NOW = [{ id: 1, name: "Ann", age: 31 }];

async function changeSource(): Promise<void> {
  await from.query("DELETE FROM people WHERE id = 2");
  await from.query("UPDATE people SET age = 31");
}

describe("a table that the job made is replaced", () => {
  it("with the rows that the source has now, and keeps its grants", async () => {
    const role = `reader_${jobId.slice(0, 8)}`;
    await to.query(`CREATE ROLE ${role}`);
    try {
      await to.query(`GRANT SELECT, DELETE ON people TO ${role} WITH GRANT OPTION`);
      await to.query("GRANT SELECT ON people TO PUBLIC");
      const grants =
        "SELECT a.* FROM pg_class, aclexplode(relacl) a WHERE oid = 'people'::regclass ORDER BY 1, 2, 3";
      const before = await to.query(grants);
      await changeSource();
      await runOnce();
      expect(await people()).toEqual(NOW);
      expect(await to.query(grants)).toEqual(before);
    } finally {
      await to.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  it("without grants that only new tables get", async () => {
    await to.query("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC");
    await runOnce();
    const acl = "SELECT relacl::text LIKE '%,=r/%' AS open FROM pg_class WHERE oid = 'people'::regclass";
    expect(await to.query(acl)).toEqual([{ open: false }]);
  });

  it("without a moment in which readers find it missing or empty", async () => {
    let stop = false;
    const counts = new Set<number>();
    const reading = (async () => {
      while (!stop) {
        const [row] = await to.query<{ rows: number }>("SELECT count(*)::int AS rows FROM people");
        counts.add(row?.rows ?? -1);
      }
    })();
    for (let index = 0; index < 5; index += 1) await runOnce();
    stop = true;
    await reading;
    expect([...counts]).toEqual([2]);
  });

  it("and follows the columns, types and key of the source, which the log tells", async () => {
    await from.query("ALTER TABLE people DROP COLUMN age, ADD COLUMN city text DEFAULT 'Oslo'");
    await from.query("ALTER TABLE people ALTER COLUMN id TYPE bigint, DROP CONSTRAINT people_pkey");
    const lines = await runOnce();
    expect(await people("id, name, city")).toEqual([
      { id: "1", name: "Ann", city: "Oslo" },
      { id: "2", name: "Bob", city: "Oslo" },
    ]);
    expect(lines.join("\n")).toMatch(/new column city.*\n?/);
    expect(lines.join("\n")).toContain("column id is now bigint, was integer");
    expect(lines.join("\n")).toContain("column age is gone");
  });

  it("or made again where a user has dropped it", async () => {
    await to.query("DROP TABLE people");
    await runOnce();
    expect(await people("id")).toHaveLength(2);
  });
});

describe("what users put on a table stays", () => {
  it.each([
    [
      "a view",
      "CREATE VIEW adults AS SELECT name, age FROM people",
      "SELECT name, age FROM adults",
      [{ name: "Ann", age: 31 }],
    ],
    [
      "a function on its rows",
      "CREATE FUNCTION label(p people) RETURNS text LANGUAGE sql RETURN p.name || '!'",
      "SELECT label(p) FROM people p",
      [{ label: "Ann!" }],
    ],
    [
      "an index",
      "CREATE INDEX people_by_name ON people (lower(name))",
      "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indrelid = 'people'::regclass ORDER BY 1",
      [{ name: "people_by_name" }, { name: "people_pkey" }],
    ],
    [
      "a column with its default",
      "ALTER TABLE people ADD COLUMN note text DEFAULT 'none'",
      "SELECT id, note FROM people",
      [{ id: 1, note: "none" }],
    ],
    [
      "row level security",
      "ALTER TABLE people ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON people USING (true)",
      "SELECT relrowsecurity AS on, (SELECT count(*)::int FROM pg_policy WHERE polrelid = c.oid) AS policies FROM pg_class c WHERE oid = 'people'::regclass",
      [{ on: true, policies: 1 }],
    ],
    [
      "a trigger",
      `CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.name = upper(NEW.name); RETURN NEW; END$$;
       CREATE TRIGGER shout BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION shout()`,
      "SELECT name FROM people",
      [{ name: "ANN" }],
    ],
    [
      "a comment",
      "COMMENT ON COLUMN people.name IS 'as on the passport'",
      "SELECT col_description('people'::regclass, 2) AS comment",
      [{ comment: "as on the passport" }],
    ],
    [
      "a check constraint",
      "ALTER TABLE people ADD CONSTRAINT grown CHECK (age > 18)",
      "SELECT conname AS name FROM pg_constraint WHERE conrelid = 'people'::regclass AND contype = 'c'",
      [{ name: "grown" }],
    ],
  ])("%s", async (_what, make, look, expected) => {
    await to.query(make);
    await changeSource();
    const lines = await runOnce();
    expect(await people()).toEqual([expect.objectContaining({ id: 1, age: 31 })]);
    expect(await to.query(look)).toEqual(expected);
    expect(lines.join("\n")).toContain("kept and filled again");
    expect((await tablesOf(to)).filter((name) => name.startsWith("_"))).toEqual([]);
  });

  it("also when columns come, go and change beneath it", async () => {
    await to.query("CREATE INDEX people_by_name ON people (name)");
    await from.query("ALTER TABLE people DROP COLUMN age, ADD COLUMN born date, ALTER COLUMN id TYPE bigint");
    await from.query("ALTER TABLE people ALTER COLUMN name SET NOT NULL");
    await runOnce();
    const columns = await to.query<{ column: string }>(
      `SELECT attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END AS column
       FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    );
    expect(columns.map(({ column }) => column)).toEqual(["id bigint!", "name text!", "born date"]);
    expect(await people("id")).toHaveLength(2);
  });

  it("also when the key of the source changes", async () => {
    await to.query("CREATE INDEX people_by_name ON people (name)");
    await from.query("ALTER TABLE people DROP CONSTRAINT people_pkey, ADD PRIMARY KEY (name)");
    await runOnce();
    const [key] = await to.query<{ key: string }>(
      "SELECT pg_get_constraintdef(oid) AS key FROM pg_constraint WHERE conrelid = 'people'::regclass AND contype = 'p'",
    );
    expect(key?.key).toBe("PRIMARY KEY (name)");
  });
});

describe("what cannot stay stops the run, by name, and leaves the old rows", () => {
  async function refused(): Promise<ConnectorError> {
    await changeSource();
    const error = await failure(runOnce(), ConnectorError);
    expect(await people("id")).toHaveLength(2);
    expect((await tablesOf(to)).filter((name) => name.startsWith("_"))).toEqual([]);
    return error;
  }

  it("a foreign key that refers to the table", async () => {
    await to.query("CREATE TABLE pets (owner int REFERENCES people ON DELETE CASCADE)");
    expect((await refused()).message).toMatch(/"people".*"pets" references "people"/);
  });

  it("a view on a column whose type changes", async () => {
    await to.query("CREATE VIEW names AS SELECT name FROM people");
    await from.query("ALTER TABLE people ALTER COLUMN name TYPE varchar(20)");
    expect((await refused()).message).toContain("view names");
  });

  it("a view on a column that is gone", async () => {
    await to.query("CREATE VIEW names AS SELECT name FROM people");
    await from.query("ALTER TABLE people DROP COLUMN name");
    expect((await refused()).message).toContain("view names");
  });

  it("a check that the new rows fail", async () => {
    await to.query("ALTER TABLE people ADD CONSTRAINT young CHECK (age <> 31)");
    const error = await refused();
    expect(error.code).toBe("invalid_data");
    expect(error.message).toContain("young");
  });
});

describe("what is not the job's own is never replaced", () => {
  async function refusal(): Promise<string> {
    jobId = randomUUID();
    const error = await failure(runOnce(), ConnectorError);
    return error.message;
  }

  it("a table of the user's", async () => {
    await to.query(
      "DROP TABLE people; CREATE TABLE people (mine text); INSERT INTO people VALUES ('precious')",
    );
    expect(await refusal()).toContain('"public"."people" exists and is not this job\'s');
    expect(await to.query("SELECT mine FROM people")).toEqual([{ mine: "precious" }]);
  });

  it("a table that took the place of the job's own", async () => {
    await to.query(
      "DROP TABLE people; CREATE TABLE people (mine text); INSERT INTO people VALUES ('precious')",
    );
    expect((await failure(runOnce(), ConnectorError)).message).toContain("is not this job's");
    expect(await to.query("SELECT mine FROM people")).toEqual([{ mine: "precious" }]);
  });

  it("a table of another job, which the message names", async () => {
    const owner = jobId;
    expect(await refusal()).toContain(owner);
    expect(await people("id")).toHaveLength(2);
  });

  it("a view", async () => {
    await to.query("DROP TABLE people; CREATE VIEW people AS SELECT 1 AS one");
    expect(await refusal()).toContain('the view "public"."people"');
  });

  it("a table that another job made meanwhile", async () => {
    await to.query("DROP TABLE people");
    const writers = await Promise.all(
      [1, 2].map((n) =>
        postgres().destination.open(configOf(to), { jobId: randomUUID(), run: n, attempt: 1 }, context()),
      ),
    );
    for (const writer of writers) await writer.write(PEOPLE, rowsOf([[[1, "x"]]]), () => {});
    const [first, second] = writers;
    await first?.commit();
    await failure(second?.commit() ?? Promise.resolve(), ConnectorError);
    await Promise.all(writers.map((writer) => writer.close()));
    expect(await tablesOf(to)).toEqual(["people"]);
  });
});
