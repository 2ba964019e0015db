import type { Redis } from "ioredis";
import { type EngineContext, EngineError, type Instance, type StorageHold } from "../engine.js";
import type { Volume } from "../substrate.js";
import { type Address, asAdmin, infoOf, numberIn, untilServing } from "./admin.js";
import type { GraphPrograms } from "./programs.js";
import { accounts, configuration, type Listening, type ServerPaths } from "./settings.js";

/** Leads to the folder with the data that is served. */
export const CURRENT = "current";
/** What else a configuration names. */
export const FOLDERS: readonly string[] = ["conf", "import", "temp"];
const CONFIGURATION = "conf/server.conf";
const USERS = "conf/users.acl";
const HOLD = "conf/hold";
const TLS = "conf/tls.cnf";
/**
 * A query's limit of memory is looked at after each allocation: one that the system refuses ends the server instead of
 * the query, and a list of 10^8 numbers is one allocation.
 */
const RESERVED_BYTES = 4 * 1024 * 1024 * 1024;
const STOP_GRACE_MS = 120_000;

/** What one deployment's server is and does, whatever data it serves. */
export class GraphServer {
  private readonly programs: GraphPrograms;
  readonly instance: Instance;
  readonly context: EngineContext;

  constructor(programs: GraphPrograms, instance: Instance, context: EngineContext) {
    this.programs = programs;
    this.instance = instance;
    this.context = context;
  }

  get volume(): Volume {
    return this.instance.place.volume;
  }

  get address(): Address {
    const { host, port } = this.instance.place;
    return { host, port };
  }

  /** Where a server that clients cannot reach listens. */
  get privateSocket(): string {
    return `${this.instance.place.socketFolder}/private`;
  }

  asAdmin<T>(work: (client: Redis) => Promise<T>, address = this.address): Promise<T> {
    return asAdmin(address, this.instance.credentials.adminSecret, this.context.signal, work);
  }

  async isRunning(): Promise<boolean> {
    return (await this.instance.place.status()).state === "running";
  }

  /** A configuration for data at `data`, and what it names, by their paths in the volume. */
  async configuration(
    file: string,
    data: string,
    listening: Listening,
  ): Promise<Readonly<Record<string, string>>> {
    const { signal } = this.context;
    const [hold, module] = await Promise.all([
      this.hold(),
      this.instance.place.reach(this.programs.module, signal),
    ]);
    const paths: ServerPaths = {
      module,
      data: this.volume.path(data),
      users: this.volume.path(USERS),
      imports: this.volume.path("import"),
      temp: this.volume.path("temp"),
    };
    return {
      [USERS]: accounts(this.instance.credentials, hold),
      [TLS]: NO_CIPHERS,
      [file]: configuration(this.instance, paths, listening),
    };
  }

  /** Words that start a server with the configuration in a file of the volume. */
  async command(file: string): Promise<{ program: string; args: string[] }> {
    const program = await this.instance.place.reach(this.programs.server, this.context.signal);
    return { program, args: [this.volume.path(file)] };
  }

  /** Starts it, for clients or for Gatehouse alone, and waits until it has loaded its data. */
  async start(audience: "clients" | "gatehouse"): Promise<void> {
    const { place, credentials } = this.instance;
    const { signal } = this.context;
    const listening =
      audience === "clients" ? { port: place.port, addresses: place.listen } : { socket: this.privateSocket };
    const texts = await this.configuration(CONFIGURATION, CURRENT, listening);
    const env = { OPENSSL_CONF: this.volume.path(TLS) };
    const command = await this.command(CONFIGURATION);
    const openFiles = this.instance.plan.connections + 256;
    await place.start({ ...command, env, openFiles, texts, reservedBytes: RESERVED_BYTES }, signal);
    const address = audience === "clients" ? this.address : { path: this.privateSocket };
    try {
      await untilServing(
        address,
        credentials.adminSecret,
        this.context,
        async () => !(await this.isRunning()),
      );
    } catch (cause) {
      signal.throwIfAborted();
      const log = await place.logs(2_000);
      this.context.log("error", `the server did not start; its log ends with: ${log.trim()}`);
      if (/Address already in use/.test(log)) throw portTaken(place.port, cause);
      throw new EngineError("unavailable", "the database server did not start", { cause });
    }
  }

  /** Whether the process of this place is the one that serves on its address (or on another). */
  async serves(address = this.address): Promise<boolean> {
    const status = await this.instance.place.status();
    if (status.state !== "running") return false;
    try {
      return await this.asAdmin(
        async (client) => numberIn(await infoOf(client, "server"), "process_id") === status.pid,
        address,
      );
    } catch (error) {
      if (error instanceof EngineError) return false;
      throw error;
    }
  }

  stopNow(): Promise<void> {
    const options = { stopSignal: "SIGTERM", graceMs: STOP_GRACE_MS } as const;
    return this.instance.place.stop(options, this.context.signal);
  }

  async hold(): Promise<StorageHold> {
    const { signal } = this.context;
    const names = await this.volume.list("conf", signal);
    if (names.includes("hold-closed")) return "closed";
    return names.includes("hold-read_only") ? "read_only" : "none";
  }

  /** Keeps what the customer may do, so that the next start has it too. */
  async keepHold(hold: StorageHold): Promise<void> {
    const { signal } = this.context;
    for (const other of ["read_only", "closed"] as const) {
      if (other === hold) await this.volume.write(`${HOLD}-${hold}`, "", { limitBytes: 0, signal });
      else await this.volume.remove(`${HOLD}-${other}`, signal);
    }
  }

  async writeAccounts(hold: StorageHold): Promise<void> {
    await this.volume.writeTexts({ [USERS]: accounts(this.instance.credentials, hold) }, this.context.signal);
  }

  /** Makes a running server take its accounts from the file, and ends the customer's sessions. */
  async loadAccounts(): Promise<void> {
    await this.asAdmin(async (client) => {
      await client.call("ACL", "LOAD");
      await client.call("CLIENT", "KILL", "USER", this.instance.credentials.username);
    });
  }
}

export function portTaken(port: number, cause?: unknown): EngineError {
  return new EngineError("port_taken", `port ${port} is used by something else`, { cause });
}

/**
 * LOAD CSV fetches https addresses from where the server is, which may be places that the customer must not reach, and
 * no setting of the module forbids it. OpenSSL is left without a cipher that curl could use, so no request is ever sent:
 * what remains is a connection that is closed at once.
 */
const NO_CIPHERS = `openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = none
[none]
CipherString = PSK
Ciphersuites =
`;
