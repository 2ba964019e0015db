import { mkdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { openMasterKey } from "./auth/master-keys.js";
import { Child, HopelessError, LONGEST_BACKOFF_MS } from "./child.js";
import type { Config } from "./config.js";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "./embedded/postgres.js";
import { messageOf } from "./platform/errors.js";
import { createLogger, type Logger } from "./platform/logger.js";
import { masterKeyMaterial, prepareDatabase } from "./prepare.js";
import { tellFirstCredentials } from "./role.js";
import { EXIT, stopOnSignals } from "./shutdown.js";

const STOP_LIMIT_MS = 45_000;

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Role `all`: the embedded database where none is configured, then an api and a worker as children that are
 * started again when they die. The children leave by themselves when this process is killed.
 */
export async function runAll(config: Config, env: Env): Promise<void> {
  await mkdir(config.home, { recursive: true });
  await mkdir(config.filesRoot, { recursive: true });
  const launcher = new Launcher(config, env, createLogger(config.logLevel, "launcher"));
  const begin = stopOnSignals((reason) => launcher.stop(reason), STOP_LIMIT_MS);
  try {
    await launcher.start();
  } catch (error) {
    // Whatever a stop breaks off fails.
    if (launcher.stopping) return;
    console.error(`gatehouse: ${messageOf(error)}`);
    begin("the start has failed", error instanceof HopelessError ? EXIT.config : EXIT.failed);
  }
}

/**
 * A name whose name server does not answer holds a thread for as long as half a minute, and at most half of them look names
 * up (libuv): with the default of four, two such webhooks or sources would be in everybody's way.
 */
const WORKER_THREADS = { UV_THREADPOOL_SIZE: "64" };

class Launcher {
  readonly #config: Config;
  readonly #env: Env;
  readonly #logger: Logger;
  #children: readonly Child[] = [];
  #database: Promise<EmbeddedPostgres> | null = null;
  #stopping = false;

  constructor(config: Config, env: Env, logger: Logger) {
    this.#config = config;
    this.#env = env;
    this.#logger = logger;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  async start(): Promise<void> {
    const databaseUrl = this.#config.databaseUrl ?? (await this.#openDatabase());
    const material = await masterKeyMaterial(this.#config);
    await prepareDatabase(
      this.#config,
      databaseUrl,
      openMasterKey(material, this.#config.oldMasterKeys),
      tellFirstCredentials,
    );
    if (this.#stopping) return;
    const env = {
      ...this.#env,
      DATABASE_URL: databaseUrl,
      GATEHOUSE_MASTER_KEY: material,
      ...this.#inherited(),
    };
    this.#children = [
      new Child("api", env, this.#logger),
      new Child("worker", { ...WORKER_THREADS, ...env, ...this.#nextMetricsPort() }, this.#logger),
    ];
    await Promise.all(this.#children.map((child) => child.start()));
    if (this.#stopping) return;
    console.log(
      `\n  Gatehouse is ready at ${this.#config.publicUrl}\n  Ctrl-C stops it; "npm run demo" shows it at work.\n`,
    );
  }

  /** Defaults that depend on whether there is a DATABASE_URL: the children get what holds for this process. */
  #inherited(): Env {
    return { OUTBOUND_ALLOW: this.#config.outboundAllow.join(",") || undefined };
  }

  /** Two processes cannot listen on one port. */
  #nextMetricsPort(): Env {
    const { metricsPort } = this.#config;
    return metricsPort === null ? {} : { METRICS_PORT: String(metricsPort + 1) };
  }

  async #openDatabase(): Promise<string> {
    this.#database = startEmbeddedPostgres({
      home: this.#config.home,
      log: (line) => this.#logger.info(line),
    });
    const server = await this.#database;
    void server.exited.then((exit) => this.#reopenDatabase(exit, server.url));
    return server.url;
  }

  /** A server that died is started again, on its port if that is free: then the children find it by themselves. */
  async #reopenDatabase(exit: object, formerUrl: string): Promise<void> {
    while (!this.#stopping) {
      this.#logger.error(exit, "the embedded database has died: starting it again");
      try {
        const url = await this.#openDatabase();
        if (url !== formerUrl) for (const child of this.#children) child.restartWith({ DATABASE_URL: url });
        return;
      } catch (error) {
        this.#logger.error({ err: error }, "the embedded database could not be started");
        await delay(LONGEST_BACKOFF_MS, undefined, { ref: false });
      }
    }
  }

  /** No new requests first, then no new work, then no database. */
  async stop(reason: string): Promise<void> {
    this.#stopping = true;
    this.#logger.info({ reason }, "stopping");
    for (const child of this.#children) await child.stop();
    // One that is just being started is stopped too, as soon as it can be.
    const server = await this.#database?.catch(() => null);
    await server?.stop();
    this.#logger.info("stopped");
  }
}
