import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { FastifyInstance } from "fastify";
import { pino } from "pino";
import { startApi } from "../../src/api.js";
import { type CreatedClient, createClient } from "../../src/auth/clients.js";
import { type Scope, TENANT_SCOPES } from "../../src/auth/scopes.js";
import { loadConfig } from "../../src/config.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { openTracer } from "../../src/platform/tracer.js";
import { prepareDatabase } from "../../src/prepare.js";
import { openRuntime, type Runtime } from "../../src/runtime.js";
import { startWorker, type WorkerProcess } from "../../src/worker.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { UsedSecrets } from "./secrets.js";
import { until } from "./until.js";

export interface InstallationOptions {
  /** Null, the default: the queue on PostgreSQL; else that Redis. */
  readonly redisUrl?: string | null;
  /** False: nobody works at operations. */
  readonly worker?: boolean;
  /** More settings, by the names of the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Credentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

export interface TestProject {
  readonly id: string;
  readonly number: number;
  readonly slug: string;
}

export interface TestOrganization {
  readonly id: string;
  readonly project: TestProject;
  /** May do everything within the organization. */
  readonly client: Credentials;
}

export interface ClientOptions {
  /** Default: everything of a tenant. */
  readonly scopes?: readonly Scope[];
  /** Ids; default: all projects. */
  readonly projects?: readonly string[];
  /** Id; default: the first organization. */
  readonly organization?: string;
}

export interface CallOptions {
  /** Default: the administrator's; null: none. */
  readonly token?: string | null;
  /** Sent as JSON, on GET too. */
  readonly body?: unknown;
  /** Sent as it is. */
  readonly raw?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer<T> {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** What the JSON of the answer says; undefined where it is no JSON. */
  readonly body: T;
  readonly text: string;
}

/** What tests look at of an operation. */
export interface OperationAnswer {
  readonly id: string;
  readonly status: string;
  readonly done: boolean;
  readonly resource: { readonly type: string; readonly id: string };
  readonly result: unknown;
  readonly error: ({ readonly detail: string } & Readonly<Record<string, unknown>>) | null;
}

/** A whole Gatehouse in this process: api, worker, queue, on a database of its own. */
export interface Installation {
  readonly app: FastifyInstance;
  readonly runtime: Runtime;
  readonly database: TestDatabase;
  readonly filesRoot: string;
  /** Where the api listens. */
  readonly origin: string;
  /** One line per log entry of this installation. */
  readonly log: readonly string[];
  readonly admin: Credentials;
  /** The first organization. */
  readonly organizationId: string;
  /** Its project `default`, number 1. */
  readonly project: TestProject;
  /** A request over the wire. */
  call<T = unknown>(method: string, url: string, options?: CallOptions): Promise<Answer<T>>;
  /** An access token of a client, default the administrator's; kept, so asked for once per client. */
  token(client?: Credentials): Promise<string>;
  createClient(options?: ClientOptions): Promise<CreatedClient>;
  createOrganization(): Promise<TestOrganization>;
  createProject(options?: { readonly organization?: string; readonly slug?: string }): Promise<TestProject>;
  /** Asks the api until the operation is done. */
  waitDone(operationId: string): Promise<OperationAnswer>;
  /** Writes a file below the files root. */
  putFile(path: string, content: string | Buffer): Promise<void>;
  readFile(path: string): Promise<string>;
  removeFile(path: string): Promise<void>;
  close(): Promise<void>;
}

const PUBLIC_URL = "https://gatehouse.example";

export async function openInstallation(options: InstallationOptions = {}): Promise<Installation> {
  const database = await createDatabase();
  const home = await mkdtemp(join(tmpdir(), "gatehouse-installation-"));
  // As root its databases run as other users, who must get to their data: else that is outside, and stays there.
  await chmod(home, 0o711);
  const admin = { clientId: "administrator", clientSecret: "the secret of the tests' administrator" };
  const filesRoot = join(home, "files");
  await mkdir(filesRoot);
  const loaded = loadConfig(
    {
      PORT: "0",
      PUBLIC_URL,
      DATABASE_URL: database.url,
      ...(typeof options.redisUrl === "string" ? { REDIS_URL: options.redisUrl } : {}),
      GATEHOUSE_MASTER_KEY: MasterKey.generate(),
      GATEHOUSE_HOME: home,
      FILES_ROOT: filesRoot,
      BOOTSTRAP_CLIENT_ID: admin.clientId,
      BOOTSTRAP_CLIENT_SECRET: admin.clientSecret,
      OUTBOUND_ALLOW: "loopback",
      GATEHOUSE_LEASE_MS: "2000",
      GATEHOUSE_HEARTBEAT_MS: "200",
      GATEHOUSE_SWEEP_MS: "200",
      ...options.env,
    },
    home,
  );
  // Looking for engines takes a second: who configures regions wants it.
  const config = options.env?.["GATEHOUSE_CONFIG"] === undefined ? { ...loaded, regions: [] } : loaded;
  const log: string[] = [];
  const logger = pino({ level: "info" }, { write: (line: string) => log.push(line) });
  const masterKey = new MasterKey(config.masterKey ?? "");
  await prepareDatabase(config, database.url, masterKey, () => {});
  const tracer = await openTracer({ endpoint: config.otlpEndpoint, role: "test", version: "0" }, logger);
  const runtime = await openRuntime(config, database.url, masterKey, logger, { tracer });
  const api = await startApi(runtime);
  const worker: WorkerProcess | null = options.worker === false ? null : await startWorker(runtime);
  const secrets = new UsedSecrets();
  secrets.add(admin.clientSecret);
  secrets.add(config.masterKey);
  const failures: string[] = [];
  const wire = openWire(api.app, (sent, answer) => {
    secrets.add(sent.bearer);
    secrets.addFrom(sent.body);
    secrets.addFrom(answer.body);
    if (answer.status >= 400) failures.push(answer.text);
  });
  const { prisma } = runtime;
  const found = await prisma.project.findFirstOrThrow({ where: { number: 1 } });
  const { organizationId } = found;
  const tokens = new Map<string, Promise<string>>();

  const token = (client: Credentials = admin): Promise<string> => {
    const known = tokens.get(client.clientId) ?? fetchToken(wire, client);
    tokens.set(client.clientId, known);
    return known;
  };
  const call = async <T>(method: string, url: string, asked: CallOptions = {}): Promise<Answer<T>> => {
    const bearer = asked.token === undefined ? await token() : asked.token;
    return wire.send<T>(method, url, asked, bearer);
  };
  const createProject: Installation["createProject"] = async ({ organization, slug } = {}) => {
    const id = newId();
    const name = slug ?? `project-${id}`;
    const data = { id, organizationId: organization ?? organizationId, slug: name, name };
    return toProject(await prisma.project.create({ data }));
  };
  const newClient: Installation["createClient"] = ({ scopes, projects, organization } = {}) =>
    prisma.$transaction((tx) =>
      createClient(tx, masterKey, {
        organizationId: organization ?? organizationId,
        name: "a client of the tests",
        scopes: new Set(scopes ?? TENANT_SCOPES),
        projects: projects === undefined ? "all" : new Set(projects),
      }),
    );

  return {
    ...{ app: api.app, runtime, database, filesRoot, origin: wire.origin, log, admin, organizationId },
    ...{ project: toProject(found), call, token, createProject, createClient: newClient },
    async createOrganization() {
      const id = newId();
      await prisma.organization.create({ data: { id, name: "another" } });
      const project = await createProject({ organization: id, slug: "default" });
      return { id, project, client: await newClient({ organization: id }) };
    },
    waitDone: (operationId) =>
      until(`operation ${operationId} is done`, async () => {
        const answer = await call<OperationAnswer>("GET", `/api/v1/operations/${operationId}`);
        if (answer.status !== 200) throw new Error(`operation ${operationId}: ${answer.text}`);
        return answer.body.done ? answer.body : null;
      }),
    async putFile(path, content) {
      await mkdir(dirname(join(filesRoot, path)), { recursive: true });
      await writeFile(join(filesRoot, path), content);
    },
    readFile: (path) => readFile(join(filesRoot, path), "utf8"),
    removeFile: (path) => rm(join(filesRoot, path)),
    async close() {
      wire.close();
      await worker?.stop();
      await api.stop();
      await runtime.close();
      await database.drop();
      await rm(home, { recursive: true, force: true });
      // Whatever a test file did: no secret of it stands in the log or in an error.
      const told = secrets.toldIn([...log, ...failures]);
      if (told.length > 0) throw new Error(`a secret was told:\n${told.slice(0, 3).join("\n")}`);
    },
  };
}

function toProject({ id, number, slug }: TestProject): TestProject {
  return { id, number, slug };
}

/** Requests over a real connection: `fetch` sends no bodies with GET, and mends paths. */
function openWire(
  app: FastifyInstance,
  seen: (sent: { bearer: string | null; body: unknown }, answer: Answer<unknown>) => void,
) {
  const { port } = app.server.address() as AddressInfo;
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const send = <T>(
    method: string,
    path: string,
    { body, raw, headers = {} }: CallOptions,
    bearer: string | null,
  ): Promise<Answer<T>> => {
    const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const all = {
      ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(payload === undefined ? {} : { "content-length": String(Buffer.byteLength(payload)) }),
      ...headers,
    };
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest(
        { agent, host: "127.0.0.1", port, method, path, headers: all },
        (incoming) => {
          const chunks: Buffer[] = [];
          incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
          incoming.on("error", reject);
          incoming.on("end", () => {
            const text = Buffer.concat(chunks).toString();
            const status = incoming.statusCode ?? 0;
            const answer = { status, headers: incoming.headers, body: parsed(text) as T, text };
            seen({ bearer, body }, answer);
            resolve(answer);
          });
        },
      );
      outgoing.on("error", reject);
      outgoing.end(payload);
    });
  };
  return { origin: `http://127.0.0.1:${port}`, send, close: () => agent.destroy() };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function fetchToken(wire: ReturnType<typeof openWire>, client: Credentials): Promise<string> {
  const body = {
    grant_type: "client_credentials",
    client_id: client.clientId,
    client_secret: client.clientSecret,
  };
  const answer = await wire.send<{ access_token?: string }>("POST", "/oauth/token", { body }, null);
  if (answer.body.access_token === undefined) throw new Error(`no token: ${answer.text}`);
  return answer.body.access_token;
}
