import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { chmod, copyFile, mkdir, rename, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EngineError } from "../engine.js";
import type {
  Fence,
  Place,
  PlaceLimits,
  PlaceStatus,
  PlaceView,
  ServerSpec,
  StopOptions,
  ToolResult,
  ToolSpec,
} from "../substrate.js";
import { EXIT, ended, failure, type GuardedScript, guarded, runGuarded } from "./guard.js";
import type { Layout } from "./layout.js";
import { KILL, MADE, MAKING, REMOVE, SIGNAL, START } from "./scripts.js";
import { logTail, memoryAndLog, readOrNull, statusOf } from "./status.js";
import { changingUser, cleanEnvironment, limiting, runTool } from "./tool.js";
import { namedAccount, USERS_FOLDER } from "./users.js";
import { checked, ProcessVolume } from "./volume.js";

export interface ProcessPlaceOptions {
  readonly layout: Layout;
  readonly port: number;
  readonly host: string;
  readonly listen: readonly string[];
  readonly limits: PlaceLimits;
  /** That places have users of their own. */
  readonly asRoot: boolean;
}

/** A place of the process substrate to look at. */
export class ProcessPlaceView implements PlaceView {
  readonly id: string;
  readonly port: number;
  readonly host: string;
  readonly listen: readonly string[];
  readonly limits: PlaceLimits;
  readonly socketFolder: string;
  protected readonly options: ProcessPlaceOptions;

  constructor(options: ProcessPlaceOptions) {
    this.options = options;
    this.id = options.layout.id;
    this.port = options.port;
    this.host = options.host;
    this.listen = options.listen;
    this.limits = options.limits;
    this.socketFolder = options.layout.sockets;
  }

  status(): Promise<PlaceStatus> {
    return statusOf(this.options.layout);
  }

  memory(): Promise<number | null> {
    return memoryAndLog(this.options.layout);
  }

  logs(bytes: number): Promise<string> {
    return logTail(this.options.layout, bytes);
  }

  async size(signal: AbortSignal, path = "."): Promise<number> {
    signal.throwIfAborted();
    const { layout, asRoot } = this.options;
    const uid = asRoot ? await userOf(layout) : undefined;
    if (asRoot && uid === undefined) return 0;
    const [command = "", ...args] = [...changingUser({ uid, gid: uid }), "du", "-s", "-B1", "--", path];
    const child = spawn(command, args, {
      cwd: layout.volume,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
      stdio: ["ignore", "pipe", "ignore"],
      signal,
    });
    // Files that vanish while they are counted make its exit code 1.
    const { stdout } = await ended(child).catch(() => ({ stdout: "" }));
    signal.throwIfAborted();
    return Number(stdout.split("\t")[0] ?? 0) || 0;
  }
}

/** The user that a place was given; undefined where it has none. */
export async function userOf(layout: Layout): Promise<number | undefined> {
  const text = (await readOrNull(join(layout.control, "uid")))?.trim() ?? "";
  return text === "" ? undefined : Number(text);
}

/** A place of the process substrate for effects. */
export class ProcessPlace extends ProcessPlaceView implements Place {
  readonly fence: Fence;
  readonly volume: ProcessVolume;
  private readonly script: GuardedScript;

  constructor(options: ProcessPlaceOptions, fence: Fence, uid: number | undefined) {
    super(options);
    this.fence = fence;
    this.script = { layout: options.layout, fence, uid };
    this.volume = new ProcessVolume(this.script);
  }

  async start(server: ServerSpec, signal: AbortSignal): Promise<PlaceStatus> {
    signal.throwIfAborted();
    const { layout, uid } = this.script;
    const { command, args, env } = guarded(this.script, START, [
      ...limiting(
        this.limits.memoryBytes,
        Math.min(server.openFiles, await mostOpenFiles()),
        server.reservedBytes,
      ),
      ...changingUser({ uid, gid: uid }),
      // The shell's own variables end here.
      "env",
      "-i",
      ...Object.entries(cleanEnvironment(layout.volume, layout.temp, server.env)).map(
        ([name, value]) => `${name}=${value}`,
      ),
      server.program,
      ...server.args,
    ]);
    const texts = Object.entries(server.texts ?? {});
    const log = openSync(layout.log, "a", 0o600);
    const child = spawn(command, args, {
      cwd: "/",
      env: {
        ...env,
        F: texts.map(([path]) => checked(path)).join(" "),
        ...Object.fromEntries(texts.map(([, text], index) => [`T${index}`, text])),
      },
      // A session of its own: no signal of a terminal, and it outlives this process.
      detached: true,
      stdio: ["ignore", log, log, "pipe"],
    });
    closeSync(log);
    const started = new Promise<void>((resolve, reject) => {
      let said = "";
      child.stdio[3]?.on("data", (chunk: Buffer) => {
        said += chunk.toString("utf8");
        if (said.endsWith("started\n")) resolve();
      });
      child.once("error", reject);
      child.once("close", (code) => {
        if (code === EXIT.running) resolve();
        else reject(failure(code, said));
      });
    });
    child.unref();
    try {
      await started;
    } finally {
      child.stdio[3]?.destroy();
    }
    return this.status();
  }

  async stop({ stopSignal, graceMs }: StopOptions, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await runGuarded(this.script, SIGNAL, [stopSignal.slice("SIG".length)]);
    const deadline = performance.now() + graceMs;
    while ((await this.status()).state === "running" && performance.now() < deadline) {
      await delay(20, undefined, { signal });
    }
    // Its children follow it at once, or are left over and would keep the data open.
    const lingering = performance.now() + 1_000;
    while ((await this.status()).state === "ending" && performance.now() < lingering) {
      await delay(20, undefined, { signal });
    }
    await runGuarded(this.script, KILL);
  }

  run(tool: ToolSpec, signal: AbortSignal): Promise<ToolResult> {
    const { layout, uid } = this.script;
    const user = {
      uid,
      gid: uid,
      cwd: layout.volume,
      temp: layout.temp,
      memoryBytes: this.limits.memoryBytes,
    };
    return runTool(user, tool, signal);
  }

  async make(path: string, tool: (folder: string) => ToolSpec, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { layout, uid, fence } = this.script;
    const target = this.volume.path(path).slice(layout.volume.length + 1);
    const account = uid === undefined ? { uid: undefined, gid: undefined } : namedAccount();
    const folder = `${layout.folder}/making-${fence.command}-${fence.attempt}-${process.pid}`;
    await runGuarded(this.script, MAKING, [folder, String(account.uid ?? ""), String(account.gid ?? "")]);
    const user = { ...account, cwd: folder, temp: folder, memoryBytes: this.limits.memoryBytes };
    await runTool(user, tool(`${folder}/made`), signal);
    await runGuarded(this.script, MADE, [folder, target, `made-${fence.command}-${fence.attempt}`]);
  }

  async reach(file: string, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const { uid, layout } = this.script;
    if (uid === undefined) return file;
    const known = `${layout.root} ${file}`;
    const reachable = REACHABLE.get(known) ?? this.reachable(file);
    REACHABLE.set(known, reachable);
    return reachable.catch((error) => {
      REACHABLE.delete(known);
      throw error;
    });
  }

  private async reachable(file: string): Promise<string> {
    const { layout } = this.script;
    if (await this.canRead(file)) return file;
    const found = await stat(file);
    const version = createHash("sha256").update(`${file} ${found.size} ${found.mtimeMs}`).digest("hex");
    const folder = join(layout.root, "programs");
    const copy = join(folder, `${version.slice(0, 12)}-${basename(file)}`);
    if (await this.canRead(copy)) return copy;
    const aside = `${copy}.${process.pid}`;
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o755);
    await copyFile(file, aside);
    await chmod(aside, 0o755);
    await rename(aside, copy);
    return copy;
  }

  async remove(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await runGuarded(this.script, KILL);
    await runGuarded(this.script, REMOVE, [layoutUser(this.script), this.socketFolder]);
  }

  private async canRead(file: string): Promise<boolean> {
    const { uid } = this.script;
    const [command = "", ...args] = [...changingUser({ uid, gid: uid }), "test", "-r", file];
    const { code } = await ended(spawn(command, args, { cwd: "/", stdio: "ignore" }));
    return code === 0;
  }
}

/** Programs do not move while this process lives, and what one place can read the others can. */
const REACHABLE = new Map<string, Promise<string>>();

function layoutUser({ uid }: GuardedScript): string {
  return uid === undefined ? "" : join(USERS_FOLDER, String(uid));
}

/** What this process may have open at most, which it cannot raise for others. */
async function mostOpenFiles(): Promise<number> {
  const limits = (await readOrNull("/proc/self/limits")) ?? "";
  return Number(/^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1] ?? 1024);
}

/** Makes what a place needs, for whoever holds the fence; resolves to its user. */
export async function preparePlace(
  options: ProcessPlaceOptions,
  fence: Fence,
  script: string,
  args: readonly string[],
): Promise<number | undefined> {
  await mkdir(options.layout.control, { recursive: true, mode: 0o700 });
  const uid = await runGuarded({ layout: options.layout, fence, uid: undefined }, script, args);
  if (!options.asRoot) return undefined;
  if (uid.trim() === "") throw new EngineError("failed", "the place has no user");
  return Number(uid.trim());
}
