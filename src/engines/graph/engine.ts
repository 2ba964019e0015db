import type { Readable } from "node:stream";
import {
  type Engine,
  type EngineContext,
  EngineError,
  type Instance,
  type Observed,
  type StorageHold,
  type Usage,
} from "../engine.js";
import { asAdmin, infoOf, numberIn, ping } from "./admin.js";
import { copyOf } from "./copying.js";
import { removeOthers, replaceData } from "./loading.js";
import { closeLog } from "./log.js";
import { findGraphPrograms, type GraphPrograms } from "./programs.js";
import { CURRENT, FOLDERS, GraphServer, portTaken } from "./server.js";
import { ADMIN, limitsOf } from "./settings.js";

/** The engine `graphneo`: openCypher by FalkorDB. Looks for its programs once, which takes a second. */
export async function createGraphEngine(): Promise<Engine> {
  const found = await findGraphPrograms();
  return new GraphEngine(found);
}

class GraphEngine implements Engine {
  readonly name = "graphneo";
  readonly vendor = "FalkorDB";
  readonly edition: string;
  readonly versions;
  readonly missing: string | null;
  readonly extras = [];
  readonly archiveExtension = "rdb";
  private readonly programs: GraphPrograms | null;

  constructor(found: GraphPrograms | { readonly missing: string }) {
    this.programs = "missing" in found ? null : found;
    this.missing = "missing" in found ? found.missing : null;
    this.versions = this.programs === null ? [] : [this.programs.version];
    this.edition = this.programs?.version.edition ?? "";
  }

  usernameFault(username: string): string | null {
    if (!/^[a-z][a-z0-9_]{0,30}$/.test(username)) {
      return "a user name has 1 to 31 lower-case letters, digits and _, a letter first";
    }
    return username === ADMIN || username === "default" ? `the user name ${username} is taken` : null;
  }

  connectionUrl(
    host: string,
    port: number,
    { username, password }: { username: string; password: string },
  ): string {
    return `redis://${username}:${password}@${host}:${port}`;
  }

  async provision(instance: Instance, context: EngineContext): Promise<void> {
    const { volume, fence } = instance.place;
    const target = `data-${fence.command}-${fence.attempt}-new`;
    const found = await volume.begin({ link: CURRENT, target, folders: FOLDERS }, context.signal);
    if (found.length > 0 && !found.includes(CURRENT)) await removeOthers(this.server(instance, context));
  }

  async start(instance: Instance, context: EngineContext): Promise<void> {
    const server = this.server(instance, context);
    if ((await instance.place.status()).state !== "stopped") {
      if (await server.serves()) {
        await server.writeAccounts(await server.hold());
        await server.loadAccounts();
        await this.applyLimits(server);
        return;
      }
      // Another port, Gatehouse's socket alone, another admin secret, or it hangs.
      await server.stopNow();
    }
    await server.start("clients");
    if (await server.serves()) return;
    // Somebody else answers in its place.
    await server.stopNow();
    throw portTaken(instance.place.port);
  }

  async stop(instance: Instance, context: EngineContext): Promise<void> {
    const server = this.server(instance, context);
    if (await server.serves()) await closeLog(server);
    await server.stopNow();
  }

  health(observed: Observed, signal: AbortSignal) {
    return ping(observed, signal);
  }

  snapshot(instance: Instance, context: EngineContext): Promise<Readable> {
    return copyOf(this.server(instance, context));
  }

  export(instance: Instance, context: EngineContext): Promise<Readable> {
    return this.snapshot(instance, context);
  }

  async restore(instance: Instance, archive: Readable, context: EngineContext): Promise<void> {
    await replaceData(this.server(instance, context), archive);
  }

  import(instance: Instance, archive: Readable, context: EngineContext): Promise<void> {
    return this.restore(instance, archive, context);
  }

  async changeCredentials(instance: Instance, context: EngineContext): Promise<void> {
    const server = this.server(instance, context);
    await server.writeAccounts(await server.hold());
    if (await server.serves()) await server.loadAccounts();
  }

  async resize(instance: Instance, context: EngineContext): Promise<{ readonly needsRestart: boolean }> {
    const server = this.server(instance, context);
    const stored = await instance.place.size(context.signal, CURRENT.concat("/."));
    if (stored > instance.place.limits.storageBytes) {
      throw new EngineError("too_large", `the data occupies ${stored} bytes on disk, more than the plan has`);
    }
    // Stopped, or told at the next start. What the system allows its processes is set there anyway.
    if (!(await server.serves())) return { needsRestart: await server.isRunning() };
    const { maxMemory } = limitsOf(instance);
    const used = await server.asAdmin(async (client) =>
      numberIn(await infoOf(client, "memory"), "used_memory"),
    );
    if (used > maxMemory) {
      throw new EngineError(
        "too_large",
        `the data needs ${used} bytes of memory, and the plan has ${maxMemory} for data`,
      );
    }
    await this.applyLimits(server);
    return { needsRestart: true };
  }

  async holdStorage(instance: Instance, hold: StorageHold, context: EngineContext): Promise<void> {
    const server = this.server(instance, context);
    await server.keepHold(hold);
    await server.writeAccounts(hold);
    if (await server.serves()) await server.loadAccounts();
  }

  destroy(instance: Instance, context: EngineContext): Promise<void> {
    return instance.place.remove(context.signal);
  }

  async inspect({ place, credentials }: Observed, signal: AbortSignal): Promise<Usage> {
    const status = await place.status();
    const storageBytes = await place.size(signal);
    if (status.state !== "running") return { storageBytes, memoryBytes: null, connections: null };
    const address = { host: place.host, port: place.port };
    const connections = await asAdmin(address, credentials.adminSecret, signal, async (client) => {
      const list = String(await client.call("CLIENT", "LIST"));
      return list.split("\n").filter((line) => line.includes(` user=${credentials.username} `)).length;
    }).catch(() => {
      signal.throwIfAborted();
      return null;
    });
    return { storageBytes, memoryBytes: await place.memory(), connections };
  }

  /** The limits that a running server can be told. */
  private async applyLimits(server: GraphServer): Promise<void> {
    const { maxMemory, maxClients, queryMemory } = limitsOf(server.instance);
    await server.asAdmin(async (client) => {
      await client.config("SET", "maxmemory", String(maxMemory));
      await client.config("SET", "maxclients", String(maxClients));
      await client.call("GRAPH.CONFIG", "SET", "QUERY_MEM_CAPACITY", String(queryMemory));
    });
  }

  private server(instance: Instance, context: EngineContext): GraphServer {
    if (this.programs === null)
      throw new EngineError("not_installed", this.missing ?? "graphneo is not installed");
    return new GraphServer(this.programs, instance, context);
  }
}
