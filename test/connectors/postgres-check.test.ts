import { once } from "node:events";
import type net from "node:net";
import tls from "node:tls";
import { Ajv } from "ajv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ConnectorConfig, ConnectorError } from "../../src/connectors/connector.js";
import { createOutboundPolicy } from "../../src/connectors/outbound.js";
import { createPostgresConnector } from "../../src/connectors/postgres/connector.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";
import { configOf, connectTo, context, failure, listen, postgres, tablesOf } from "./postgres-support.js";

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase({ empty: true });
});

afterAll(async () => {
  await database?.drop();
});

const ROLES = ["source", "destination"] as const;

async function fault(
  role: (typeof ROLES)[number],
  extra: ConnectorConfig,
  timeoutMs = 8_000,
): Promise<ConnectorError> {
  return failure(postgres(timeoutMs)[role].check(configOf(database, extra), context()), ConnectorError);
}

describe.each(ROLES)("checking a %s", (role) => {
  it("succeeds where it would work, and leaves nothing behind", async () => {
    await postgres()[role].check(configOf(database), context());
    expect(await tablesOf(database)).toEqual([]);
    expect(await database.query("SELECT 1 FROM pg_class WHERE relname = '_gatehouse_state'")).toEqual([]);
  });

  it("says that nothing listens there", async () => {
    const closed = await listen(() => {});
    await closed.close();
    const error = await fault(role, { port: closed.port });
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain(`:${closed.port} refused the connection`);
  });

  it("says that the host is not known", async () => {
    const error = await fault(role, { host: "nowhere.invalid" });
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("nowhere.invalid is not known");
  });

  it("gives up on a server that never answers", async () => {
    const silent = await listen(() => {});
    const error = await fault(role, { port: silent.port }, 200);
    await silent.close();
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("did not answer like a PostgreSQL server within 0.2 s");
  });

  it("says that something else listens there", async () => {
    const web = await listen((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    const tlsError = await fault(role, { port: web.port });
    const plainError = await fault(role, { port: web.port, ssl: { mode: "disable" } }, 2_000);
    await web.close();
    expect(tlsError.code).toBe("unreachable");
    expect(plainError.code).toBe("unreachable");
  });

  it("says that the database does not exist", async () => {
    const error = await fault(role, { database: "no_such_database" });
    expect(error.code).toBe("not_found");
    expect(error.message).toContain("no_such_database does not exist on");
  });

  it("says that the user is not let in", async () => {
    const error = await fault(role, { username: "no_such_role" });
    expect(error.code).toBe("unauthorized");
    expect(error.message).toContain("no_such_role");
  });

  it("says that the password is wrong, without showing it", async () => {
    const strict = await listen(refusePasswords);
    const error = await fault(role, { port: strict.port, password: "hunter2", ssl: { mode: "disable" } });
    await strict.close();
    expect(error.code).toBe("unauthorized");
    expect(error.message).toContain("refused the password of the user postgres");
    expect(JSON.stringify([error.message, error.details])).not.toContain("hunter2");
  });

  it("refuses addresses that the operator has not allowed", async () => {
    const { source, destination } = createPostgresConnector(
      createOutboundPolicy({ allow: [], forbidden: [] }),
    );
    const end = { source, destination }[role];
    const error = await failure(
      end?.check(configOf(database), context()) ?? Promise.resolve(),
      ConnectorError,
    );
    expect(error.message).toContain("OUTBOUND_ALLOW=loopback");
  });

  it("has a configuration schema that takes what it needs and nothing else", () => {
    const validate = new Ajv({ keywords: ["secret"] }).compile(postgres()[role].spec);
    const own = role === "source" ? { schemas: ["a"] } : { schema: "a" };
    const least = { host: "db", database: "d", username: "u" };
    expect(validate(least)).toBe(true);
    expect(validate({ ...least, ...own, port: 1, password: "", ssl: { mode: "verify-full", ca: "x" } })).toBe(
      true,
    );
    expect(validate({ ...least, ssl: { mode: "maybe" } })).toBe(false);
    expect(validate({ ...least, port: "5432" })).toBe(false);
    expect(validate({ ...least, options: "-c x" })).toBe(false);
    expect(validate({ host: "db", database: "d" })).toBe(false);
  });
});

describe("checking a source", () => {
  it("says which schema is missing", async () => {
    const error = await fault("source", { schemas: ["public", "absent"] });
    expect(error.code).toBe("not_found");
    expect(error.message).toContain("the schema absent does not exist");
  });

  it("logs the version of the server", async () => {
    const running = context();
    await postgres().source.check(configOf(database), running);
    expect(running.lines.join()).toMatch(/PostgreSQL \d+/);
  });
});

describe("checking a destination", () => {
  it("proves that a missing schema could be made, and does not make it", async () => {
    await postgres().destination.check(configOf(database, { schema: "not yet" }), context());
    expect(await database.query("SELECT 1 FROM pg_namespace WHERE nspname = 'not yet'")).toEqual([]);
  });

  it("says that the user may not create tables", async () => {
    const role = `weak_${database.url.slice(-8)}`;
    const weak = { username: role, password: "a weak role's password" };
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD '${weak.password.replace("'", "''")}'`);
    try {
      const error = await fault("destination", weak);
      expect(error.code).toBe("unauthorized");
      expect(error.message).toContain("may not create tables in the schema public");
      const schema = await fault("destination", { ...weak, schema: "another" });
      expect(schema.code).toBe("unauthorized");
    } finally {
      await database.query(`DROP ROLE ${role}`);
    }
  });

  it("says that the server is read only", async () => {
    await database.query(
      `ALTER DATABASE ${new URL(database.url).pathname.slice(1)} SET default_transaction_read_only = on`,
    );
    const error = await fault("destination", {});
    await database.query("SET default_transaction_read_only = off");
    await database.query(
      `ALTER DATABASE ${new URL(database.url).pathname.slice(1)} RESET default_transaction_read_only`,
    );
    expect(error.code).toBe("unsupported");
    expect(error.message).toContain("read only");
  });
});

describe("TLS", () => {
  const check = (port: number, ssl: object, host = "localhost") =>
    postgres().source.check(configOf(database, { host, port, ssl }), context());

  it("is used where the server offers it, and asked for where the configuration says so", async () => {
    const secure = await listen(terminateTls(database));
    await check(secure.port, {});
    await check(secure.port, { mode: "require" });
    await check(secure.port, { mode: "verify-full", ca: CERTIFICATE });
    await secure.close();
  });

  it("with verify-full refuses a certificate that nobody vouches for, or that is another host's", async () => {
    const secure = await listen(terminateTls(database));
    const unknown = await failure(check(secure.port, { mode: "verify-full" }), ConnectorError);
    const other = await failure(
      check(secure.port, { mode: "verify-full", ca: CERTIFICATE }, "127.0.0.1"),
      ConnectorError,
    );
    await secure.close();
    expect(unknown.code).toBe("unreachable");
    expect(unknown.message).toContain("self-signed certificate");
    expect(other.message).toContain("certificate for another host");
  });

  it("that is asked for and not offered is a fault, which prefer is not", async () => {
    const plain = Number(new URL(database.url).port);
    const error = await failure(check(plain, { mode: "require" }), ConnectorError);
    expect(error.code).toBe("unsupported");
    expect(error.message).toContain("offers no TLS, which ssl.mode require asks for");
    await check(plain, { mode: "prefer" });
  });

  it("does not keep an abort from breaking the connection", async () => {
    const secure = await listen(terminateTls(database));
    const config = configOf(database, { host: "localhost", port: secure.port, ssl: { mode: "require" } });
    const running = context();
    const reader = await postgres().source.open(config, running);
    const sessions = () =>
      database.query(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'gatehouse'",
      );
    expect(await sessions()).toHaveLength(1);
    const reason = new Error("enough");
    running.abort(reason);
    await until("the server has noticed", async () => (await sessions()).length === 0);
    expect(await failure(reader.describe("x", undefined), Error)).toBe(reason);
    await reader.close();
    await secure.close();
  });
});

/** Asks for a password in clear and refuses it, as a server with password authentication does. */
function refusePasswords(socket: net.Socket): void {
  const message = (type: string, body: Buffer) => {
    const head = Buffer.alloc(5, type);
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  };
  socket.once("data", () => {
    socket.write(message("R", Buffer.from([0, 0, 0, 3])));
    socket.once("data", () => {
      socket.end(message("E", Buffer.from("SFATAL\0C28P01\0Mpassword authentication failed\0\0")));
    });
  });
}

/** A server that speaks TLS in front of the tests' own, which does not. */
function terminateTls(to: TestDatabase): (socket: net.Socket) => Promise<void> {
  return async (socket) => {
    await once(socket, "data");
    socket.write("S");
    const secured = new tls.TLSSocket(socket, { isServer: true, key: KEY, cert: CERTIFICATE });
    const server = connectTo(to);
    secured.on("error", () => {}).on("close", () => server.destroy());
    server.on("close", () => socket.destroy());
    secured.pipe(server).pipe(secured);
  };
}

/** Of `localhost`, self-signed, made for these tests alone; valid until 2126. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcPkKnbbNTfS1hhoZ
aOkhsCNxWlbQ9Vkr56rVeVSZNTOhRANCAARWgWu/kVd/Jj/n2eBC37EUa0rU7wKJ
s8RjTtEwhylZzPkCOkTgiEwHRPJZs3euG+74JP9LhK6xn4mAiZ45Px4P
-----END PRIVATE KEY-----`;

const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUdOIK+kDVswugdpQq6s8l/8aWwGkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjEwMjEzNloYDzIxMjYxMDI5
MTAyMTM2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARWgWu/kVd/Jj/n2eBC37EUa0rU7wKJs8RjTtEwhylZzPkCOkTgiEwH
RPJZs3euG+74JP9LhK6xn4mAiZ45Px4Po2kwZzAdBgNVHQ4EFgQUViHXMuRVQuUx
VIo2t9+46gzYDd8wHwYDVR0jBBgwFoAUViHXMuRVQuUxVIo2t9+46gzYDd8wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhAPlUPu1IlxmIYx+fX6k4FU5AsDkwDCmoqIDxS+HLiFunAiAPFuW+X7Xq
2uBWj2KjUuc0KB80WGrKZJFipWa354NvlA==
-----END CERTIFICATE-----`;
