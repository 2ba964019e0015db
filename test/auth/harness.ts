import Fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import { pino } from "pino";
import { type AccessRecords, createAccessRecords } from "../../src/auth/access-records.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { type CreatedClient, createClient, type NewClient } from "../../src/auth/clients.js";
import { openSigningKeys, type SigningKeys } from "../../src/auth/keys.js";
import { builtInResourceServers } from "../../src/auth/resource-servers.js";
import { ALL_SCOPES } from "../../src/auth/scopes.js";
import { createTokenEndpoint } from "../../src/auth/token-endpoint.js";
import { TokenVerifier } from "../../src/auth/verifier.js";
import { guardPlugin } from "../../src/http/guard.js";
import { oauthPlugin } from "../../src/http/oauth.js";
import { STATUS } from "../../src/http/status.js";
import { systemClock } from "../../src/platform/clock.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { AppError } from "../../src/platform/errors.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { Database, type Sql } from "../../src/platform/sql.js";
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

export interface HarnessOptions {
  readonly database?: TestDatabase;
  readonly masterKey?: MasterKey;
  /** Wraps the statements that the access records run. */
  readonly wrapSql?: (sql: Sql) => Sql;
  readonly routes?: (app: FastifyInstance) => void;
}

export async function openHarness(options: HarnessOptions = {}): Promise<Harness> {
  const database = options.database ?? (await createDatabase());
  const log: string[] = [];
  const logger = pino({ level: "info" }, { write: (line: string) => log.push(line) });
  const masterKey = options.masterKey ?? new MasterKey(MasterKey.generate());
  const prisma = createPrisma(database.url, 4);
  const sql = new Database(database.url, 4, logger);
  const admin = { clientId: "administrator", clientSecret: "+the secret/of the administrator=" };
  await bootstrap(prisma, masterKey, admin);
  const deps = { publicUrl: PUBLIC_URL, masterKey, prisma, clock: systemClock, logger };
  const keys = await openSigningKeys(deps);
  const records = createAccessRecords({ sql: options.wrapSql?.(sql) ?? sql, logger });
  const resourceServers = builtInResourceServers(PUBLIC_URL);
  const verifier = new TokenVerifier({ ...deps, keys, resourceServers });
  const tokens = createTokenEndpoint({ ...deps, keys, records, resourceServers });
  const app = Fastify({ loggerInstance: logger as never });
  answerErrors(app);
  await app.register(guardPlugin, { verifier, accessRecords: records, clock: systemClock });
  await app.register(oauthPlugin, { tokens, keys });
  addRoutes(app);
  options.routes?.(app);
  await app.ready();
  const { id: organizationId } = await prisma.organization.findFirstOrThrow();

  const postForm: Harness["postForm"] = (form, headers = {}) =>
    inject(app, new URLSearchParams(form).toString(), {
      "content-type": "application/x-www-form-urlencoded",
      ...headers,
    });
  return {
    ...{ app, database, prisma, masterKey, keys, records, organizationId, admin, log, postForm },
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
      keys.close();
      records.close();
      await prisma.$disconnect();
      await sql.close();
      if (options.database === undefined) await database.drop();
    },
  };
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
