import type { FastifyInstance } from "fastify";
import { pino } from "pino";
import { type Access, openAccess } from "../../src/access.js";
import { buildServices, limitsOf } from "../../src/api.js";
import { buildApp } from "../../src/app.js";
import { type CreatedClient, createClient, type NewClient } from "../../src/auth/clients.js";
import { openMasterKey } from "../../src/auth/master-keys.js";
import type { Principal } from "../../src/auth/principal.js";
import { ALL_SCOPES, TENANT_SCOPES } from "../../src/auth/scopes.js";
import { loadConfig } from "../../src/config.js";
import { hashPassword } from "../../src/domain/people/passwords.js";
import type { Services } from "../../src/http/services.js";
import { Waiters } from "../../src/operations/waiters.js";
import { type Clock, systemClock } from "../../src/platform/clock.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import type { Signals } from "../../src/platform/signals.js";
import { prepareDatabase } from "../../src/prepare.js";
import { openRuntime } from "../../src/runtime.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";

export const PUBLIC_URL = "https://gatehouse.example";
export const PASSWORD = "correct horse battery staple";

export interface Credentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

export interface InstanceOptions {
  /** Where it finds the database; default: there. */
  readonly databaseUrl?: string;
  /** False: every signal is lost. */
  readonly signals?: boolean;
  readonly clock?: Clock;
  /** More settings, by the names of the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the installation's. */
  readonly masterKey?: MasterKey;
}

/** An api process, as far as it is not a process of its own. */
export interface Instance {
  readonly app: FastifyInstance;
  readonly access: Access;
  readonly services: Services;
  /** One line per log entry. */
  readonly log: readonly string[];
  /** A form to a path, default to the token endpoint. */
  post(form: Form, options?: PostOptions): Promise<Reply>;
  /** A token; throws where there is none. */
  token(client: Credentials, more?: Form, headers?: Headers): Promise<string>;
  /** Calls a route with a bearer token. */
  call(token: string, options?: CallOptions): Promise<Reply>;
  close(): Promise<void>;
}

export type Form = Readonly<Record<string, string>>;
export type Headers = Readonly<Record<string, string>>;

export interface PostOptions {
  readonly url?: string;
  readonly headers?: Headers;
}

export interface CallOptions {
  readonly method?: "GET" | "POST";
  /** Default: a route that shows its caller and needs `job:read`; with POST, `job:write`. */
  readonly url?: string;
  readonly headers?: Headers;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  /** What the JSON says; empty where there is none. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** A database with an organization and an administrator, and the api instances that run on it. */
export interface Fleet {
  readonly database: TestDatabase;
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly organizationId: string;
  readonly projectId: string;
  readonly admin: Credentials;
  open(options?: InstanceOptions): Promise<Instance>;
  /** A client with every scope of a tenant. */
  newClient(client?: Partial<NewClient>): Promise<CreatedClient>;
  /** Another tenant, with a client. */
  newOrganization(): Promise<{ readonly id: string; readonly client: CreatedClient }>;
  /** A person with `PASSWORD`. */
  newUser(user?: Partial<NewUser>): Promise<NewUser & { readonly id: string }>;
  close(): Promise<void>;
}

export interface NewUser {
  readonly username: string;
  readonly email: string;
  readonly role: string;
  readonly organizationId: string;
  readonly projects: "all" | readonly string[];
}

const lostSignals: Signals = {
  publish: async () => {},
  subscribe: () => () => {},
  close: async () => {},
};

export async function openFleet(options: { readonly masterKey?: string } = {}): Promise<Fleet> {
  const database = await createDatabase();
  const material = options.masterKey ?? MasterKey.generate();
  const masterKey = new MasterKey(material);
  const admin = { clientId: "administrator", clientSecret: "the secret of the tests' administrator" };
  const settings = {
    PUBLIC_URL,
    DATABASE_URL: database.url,
    GATEHOUSE_MASTER_KEY: material,
    BOOTSTRAP_CLIENT_ID: admin.clientId,
    BOOTSTRAP_CLIENT_SECRET: admin.clientSecret,
    RATE_LIMIT_FAILURES: "0",
  };
  const config = loadConfig(settings, "/");
  await prepareDatabase(config, database.url, masterKey, () => {});
  const prisma = createPrisma(database.url, 2);
  const { id: projectId, organizationId } = await prisma.project.findFirstOrThrow();
  const instances = new Set<Instance>();
  const newClient: Fleet["newClient"] = (client = {}) =>
    prisma.$transaction((tx) =>
      createClient(tx, masterKey, {
        ...{ organizationId, name: "a client", scopes: new Set(TENANT_SCOPES), projects: "all" as const },
        ...client,
      }),
    );
  return {
    ...{ database, prisma, masterKey, organizationId, projectId, admin, newClient },
    async open(opening = {}) {
      const instance = await openInstance({ ...settings, ...opening.env }, database.url, opening);
      instances.add(instance);
      const close = async (): Promise<void> => {
        if (instances.delete(instance)) await instance.close();
      };
      return { ...instance, close };
    },
    async newOrganization() {
      const id = newId();
      await prisma.organization.create({ data: { id, name: "another" } });
      return { id, client: await newClient({ organizationId: id }) };
    },
    async newUser(user = {}) {
      const username = user.username ?? `person-${newId()}`;
      const made: NewUser = {
        ...{ username, email: `${username}@example.com`, role: "owner", organizationId, projects: "all" },
        ...user,
      };
      const { projects, ...names } = made;
      const id = newId();
      await prisma.user.create({
        data: {
          ...names,
          id,
          passwordHash: await hashPassword(PASSWORD),
          allProjects: projects === "all",
          projects: { create: projects === "all" ? [] : projects.map((project) => ({ projectId: project })) },
          createdBy: "a test",
        },
      });
      return { ...made, id };
    },
    async close() {
      await Promise.all([...instances].map((instance) => instance.close()));
      await prisma.$disconnect();
      await database.drop();
    },
  };
}

async function openInstance(
  settings: Readonly<Record<string, string>>,
  defaultUrl: string,
  options: InstanceOptions,
): Promise<Instance> {
  const databaseUrl = options.databaseUrl ?? defaultUrl;
  const config = loadConfig({ ...settings, DATABASE_URL: databaseUrl }, "/");
  const log: string[] = [];
  const logger = pino({ level: "info" }, { write: (line: string) => log.push(line) });
  const masterKey = options.masterKey ?? openMasterKey(config.masterKey ?? "", "");
  const opened = await openRuntime(config, databaseUrl, masterKey, logger);
  const runtime = options.signals === false ? { ...opened, signals: lostSignals } : opened;
  const access = await openAccess(runtime, options.clock ?? systemClock);
  const waiters = new Waiters(runtime.db, runtime.signals);
  const services = buildServices(runtime, waiters, access);
  const app = await buildApp({
    ...{ version: "0", logger, metrics: runtime.metrics, tracer: null, services, access },
    ...{ corsOrigins: config.corsOrigins, trustProxy: config.trustProxy },
    limits: limitsOf(config),
  });
  addProbes(app);
  await app.ready();
  await access.ready();
  return {
    ...{ app, access, services, log },
    ...callersOf(app),
    async close() {
      waiters.close();
      await app.close();
      await access.close();
      await opened.close();
    },
  };
}

function callersOf(app: FastifyInstance): Pick<Instance, "post" | "token" | "call"> {
  const post: Instance["post"] = async (form, { url = "/oauth/token", headers = {} } = {}) => {
    const payload = new URLSearchParams(form).toString();
    const type = "application/x-www-form-urlencoded";
    return toReply(
      await app.inject({ method: "POST", url, payload, headers: { "content-type": type, ...headers } }),
    );
  };
  return {
    post,
    async token({ clientId, clientSecret }, more = {}, headers = {}) {
      const form = { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
      const { body, text } = await post({ ...form, ...more }, { headers });
      if (typeof body["access_token"] !== "string") throw new Error(`no token: ${text}`);
      return body["access_token"];
    },
    async call(token, { method = "GET", url = "/probe", headers = {} } = {}) {
      const authorization = `Bearer ${token}`;
      return toReply(await app.inject({ method, url, headers: { authorization, ...headers } }));
    },
  };
}

function toReply(response: {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}): Reply {
  const { statusCode: status, headers, body: text } = response;
  return { status, headers, text, body: text.startsWith("{") ? JSON.parse(text) : {} };
}

/** Routes that ask no database: they show who calls. */
function addProbes(app: FastifyInstance): void {
  const paths = ["/probe", "/api/v1/project/default/probe", "/deployments/a/probe", "/api/v1/jobs/a/probe"];
  for (const url of paths) {
    app.get(url, { config: { scopes: ["job:read"] }, schema: { hide: true } }, async ({ principal }) => ({
      ...{ kind: principal.kind, id: principal.id, name: principal.name },
      ...{ organizationId: principal.organizationId, scopes: [...principal.scopes] },
      projects: principal.projects === "all" ? "all" : [...principal.projects],
    }));
  }
  app.post("/probe", { config: { scopes: ["job:write"] }, schema: { hide: true } }, async () => ({}));
}

/** The administrator of a fleet, as the services see it. */
export function adminOf({ admin, organizationId }: Fleet): Principal {
  return {
    ...{ kind: "client", id: admin.clientId, name: "administrator", organizationId },
    ...{
      projects: "all",
      scopes: new Set(ALL_SCOPES),
      origin: { address: null, requestId: null },
    },
  };
}

/** The claims of a token, unverified. */
export function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
}

/**
 * For how long after now something goes on being so: milliseconds until the last try that found it so **began**,
 * which no slow machine makes longer. Tries until it is no more.
 */
export async function lasts(isSo: () => Promise<boolean>): Promise<number> {
  const from = performance.now();
  let last = from;
  await until(
    "it is no more",
    async () => {
      const began = performance.now();
      const so = await isSo();
      if (so) last = began;
      return !so;
    },
    10_000,
  );
  return last - from;
}

/** The promise of DESIGN.md section 5: what begins later than that after a change goes by the change. */
export const PROMISE_MS = 1_000;
