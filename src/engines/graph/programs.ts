import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { messageOf } from "../../platform/errors.js";
import type { EngineVersion } from "../engine.js";

/** A server of this machine and a module that was seen to load into it. */
export interface GraphPrograms {
  readonly server: string;
  readonly module: string;
  readonly version: EngineVersion;
}

/** Folders with programs, whatever the worker's PATH says. */
const FOLDERS = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"];
const TRIAL_MS = 20_000;

export const WHAT_TO_INSTALL =
  "graphneo needs a Redis or Valkey server from 7.2 on and FalkorDB's module (npm installs it on Linux x64). " +
  "Debian 12: echo 'deb http://deb.debian.org/debian bookworm-backports main' > /etc/apt/sources.list.d/backports.list " +
  "&& apt-get update && apt-get install -y -t bookworm-backports valkey-server libgomp1; " +
  "Debian 13: apt-get install -y valkey-server libgomp1";

/**
 * The programs that can serve graphs on this machine: the server that comes with the module, where it runs (it needs
 * glibc 2.38), else one that is installed. Starting it with the module is the only complete test of libraries and versions.
 */
export async function findGraphPrograms(): Promise<GraphPrograms | { readonly missing: string }> {
  const bundle = bundled();
  if (bundle === null) return { missing: `${WHAT_TO_INSTALL} (FalkorDB's module is not installed)` };
  const servers = [
    bundle.server,
    ...["valkey-server", "redis-server"].flatMap((name) => FOLDERS.map((folder) => join(folder, name))),
  ].filter((path) => existsSync(path));
  const refusals: string[] = [];
  for (const server of servers) {
    try {
      const version = await tryOut(server, bundle.module);
      return { server, module: bundle.module, version };
    } catch (error) {
      refusals.push(`${server}: ${messageOf(error)}`);
    }
  }
  return { missing: [WHAT_TO_INSTALL, ...refusals].join("; ") };
}

/** What npm brought; an optional dependency, absent on other machines. */
function bundled(): { server: string; module: string } | null {
  try {
    const manifest = createRequire(import.meta.url).resolve("@falkordblite/linux-x64/package.json");
    const folder = join(dirname(manifest), "bin");
    return { server: join(folder, "redis-server"), module: join(folder, "falkordb.so") };
  } catch {
    return null;
  }
}

async function tryOut(server: string, module: string): Promise<EngineVersion> {
  const told = await outputOf(server, ["--version"], () => false);
  // "Valkey server v=8.0.1 sha=..." and "Redis server v=7.0.15 sha=..."
  const [, kind, major, minor, patch] = /(Valkey|Redis) server v=(\d+)\.(\d+)\.(\d+)/.exec(told) ?? [];
  if (kind === undefined) throw new Error(lastLine(told) || "it does not run here");
  if (Number(major) * 100 + Number(minor) < 702) throw new Error(`${major}.${minor}.${patch} is too old`);
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-trial-"));
  try {
    const args = [
      "--port",
      "0",
      "--unixsocket",
      join(folder, "s"),
      "--dir",
      folder,
      "--save",
      "",
      "--loadmodule",
      module,
    ];
    const log = await outputOf(server, args, (text) => text.includes("Ready to accept connections"));
    const number = /FalkorDB version (\d+\.\d+\.\d+)/.exec(log)?.[1];
    if (number === undefined || !log.includes("Ready to accept")) throw new Error(lastLine(log));
    return { number, edition: `${kind} ${major}.${minor}.${patch}`, vendor: "FalkorDB" };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a program says until it ends, `enough` has been said, or its time is over. */
function outputOf(program: string, args: string[], enough: (text: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { LC_ALL: "C" }, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    const kill = () => child.kill("SIGKILL");
    const timer = setTimeout(kill, TRIAL_MS);
    const listen = (chunk: Buffer) => {
      text += chunk.toString("utf8");
      if (enough(text)) kill();
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once("close", () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.trim() ?? "";
}
