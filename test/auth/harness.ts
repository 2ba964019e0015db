import Fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import { pino } from "pino";
import { type Access, openAccess } from "../../src/access.js";
import type { AccessRecords } from "../../src/auth/access-records.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { type CreatedClient, createClient, type NewClient } from "../../src/auth/clients.js";
import type { SigningKeys } from "../../src/auth/keys.js";
import { ALL_SCOPES } from "../../src/auth/scopes.js";
import { loadConfig } from "../../src/config.js";
import { guardPlugin } from "../../src/http/guard.js";
import { oauthPlugin } from "../../src/http/oauth.js";
import { STATUS } from "../../src/http/status.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { AppError } from "../../src/platform/errors.js";
import { createMetrics } from "../../src/platform/metrics.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { PostgresSignals } from "../../src/platform/signals.js";
import { Database, type Statement } from "../../src/platform/sql.js";
import { createDatabase, type TestDatabase } from "../support/database.js";

export const PUBLIC_URL = "https://gatehouse.example";

/** The auth part of an api process, on a database of its own. */
export interface Harness {
  readonly app: FastifyInstance;
  readonly database: TestDatabase;
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly keys: SigningKeys;
  readonly records: AccessRecords;
  readonly organizationId: string;
  /** The administrator's credentials. */
  readonly admin: { readonly clientId: string; readonly clientSecret: string };
  /** One line per log entry. */
  readonly log: string[];
  /** From now on the database cannot be asked, or can again. */
  cutDatabase(cut: boolean): void;
  newClient(client?: Partial<NewClient>): Promise<CreatedClient>;
  /** Posts a form to `/oauth/token`. */
  postForm(form: Record<string, string>, headers?: Record<string, string>): ReturnType<typeof inject>;
  /** A token of a client, or the administrator's. */
  tokenOf(
    client?: { readonly clientId: string; readonly clientSecret: string },
    more?: Record<string, string>,
  ): Promise<string>;
  close(): Promise<void>;
}

function inject(app: FastifyInstance, payload: string, headers: Record<string, string>) {
  return app.inject({ method: "POST", url: "/oauth/token", payload, headers });
}

/** The control plane's database, on a wire that a test can cut. */
class CuttableDatabase extends Database {
  cut = false;

  override rows<R extends object>(statement: Statement | string, values?: readonly unknown[]): Promise<R[]> {
    return this.cut ? Promise.reject(new Error("the wire is cut")) : super.rows<R>(statement, values);
  }

  override run(statement: Statement | string, values?: readonly unknown[]): Promise<number> {
    return this.cut ? Promise.reject(new Error("the wire is cut")) : super.run(statement, values);
  }
}

export async function openHarness(): Promise<Harness> {
  const database = await createDatabase();
  const log: string[] = [];
  const stream = { write: (line: string) => log.push(line) };
  const logger = pino({ level: "info" }, stream);
  const masterKey = new MasterKey(MasterKey.generate());
  const prisma = createPrisma(database.url, 4);
  const db = new CuttableDatabase(database.url, 4, logger);
  const signals = await new PostgresSignals(database.url, db.pool, logger).open();
  const admin = { clientId: "administrator", clientSecret: "+the secret/of the administrator=" };
  await bootstrap(prisma, masterKey, admin);
  const config = loadConfig({ PUBLIC_URL }, "/");
  const access = await openAccess({
    config,
    logger,
    metrics: createMetrics("0"),
    prisma,
    db,
    signals,
    masterKey,
  });
  const app = await buildApp(access, stream);
  const { id: organizationId } = await prisma.organization.findFirstOrThrow();

  const postForm: Harness["postForm"] = (form, headers = {}) =>
    inject(app, new URLSearchParams(form).toString(), {
      "content-type": "application/x-www-form-urlencoded",
      ...headers,
    });
  return {
    ...{ app, database, prisma, masterKey, organizationId, admin, log, postForm },
    keys: access.keys,
    records: access.records,
    cutDatabase: (cut) => {
      db.cut = cut;
    },
    newClient: (client = {}) =>
      prisma.$transaction((tx) =>
        createClient(tx, masterKey, {
          organizationId,
          name: "a client",
          scopes: new Set(ALL_SCOPES),
          projects: "all",
          ...client,
        }),
      ),
    async tokenOf(client = admin, more = {}) {
      const response = await postForm({
        grant_type: "client_credentials",
        client_id: client.clientId,
        client_secret: client.clientSecret,
        ...more,
      });
      return response.json<{ access_token: string }>().access_token;
    },
    async close() {
      await app.close();
      await access.close();
      await signals.close();
      await prisma.$disconnect();
      await db.close();
      await database.drop();
    },
  };
}

/** As `src/app.ts` does it, without limits, sessions and dialects. */
async function buildApp(access: Access, stream: { write(line: string): void }): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify({ logger: { level: "info", stream } });
  answerErrors(app);
  await app.register(guardPlugin, {
    ...access,
    accessRecords: access.records,
    sessions: async () => null,
    failures: { name: "failures", quota: 0, windowMs: 60_000 },
    dialectOf: () => null,
  });
  await app.register(oauthPlugin, access);
  addRoutes(app);
  await app.ready();
  return app;
}

function answerErrors(app: FastifyInstance): void {
  app.setErrorHandler((error, _request, reply: FastifyReply) => {
    const known = error instanceof AppError ? error : new AppError("internal", String(error));
    return reply.code(STATUS[known.code]).send({ code: known.code, message: known.message });
  });
}

function addRoutes(app: FastifyInstance): void {
  app.get("/jobs", { config: { scopes: ["job:read"] } }, async (request) => ({
    ...request.principal,
    projects: request.principal.projects === "all" ? "all" : [...request.principal.projects],
    scopes: [...request.principal.scopes],
    audience: request.accessToken?.resourceServer.identifier,
  }));
  app.post("/jobs", { config: { scopes: ["job:read", "job:write"] } }, async () => ({ made: true }));
  app.get("/anybody", { config: { scopes: [] } }, async ({ principal }) => ({ id: principal.id }));
  app.get("/open", { config: { public: true } }, async () => ({ open: true }));
}
