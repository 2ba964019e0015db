import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export const ROOT = resolve(import.meta.dirname, "../..");
/** A first start makes a database cluster; on a busy machine that takes a while. */
const START_LIMIT_MS = 120_000;

type Env = Readonly<Record<string, string>>;

/** The built program in a process of its own, with a home that goes when it stops. */
export interface BuiltServer {
  readonly url: string;
  readonly home: string;
  /** The environment that it was started with: other programs find it by the same. */
  readonly env: Env;
  /** Process id of the launcher. */
  readonly pid: number;
  /** As printed at the first start. */
  readonly clientId: string;
  readonly clientSecret: string;
  /** Everything printed so far. */
  output(): string;
  /** SIGTERM; resolves to the exit code when everything has ended. */
  stop(): Promise<number | null>;
}

/** Brings dist/ up to date with the sources: what is tested is what was built. */
export function build(): void {
  const { status, stderr } = spawnSync(process.execPath, ["scripts/run.mjs", "setup"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`the build failed:\n${stderr}`);
}

/** `dist/main.js` on a free port, ready. Rejects with what it printed where it does not come up. */
export async function startBuiltServer(given: Env = {}): Promise<BuiltServer> {
  const home = await mkdtemp(join(tmpdir(), "gatehouse-built-"));
  // As root the database runs as another user, who must get to its data.
  await chmod(home, 0o755);
  const port = await freePort();
  const settings = { GATEHOUSE_HOME: home, PORT: String(port), LOG_LEVEL: "warn", ...given };
  const env = { ...withoutOwnSettings(process.env), ...settings };
  const child = spawn(process.execPath, ["dist/main.js"], {
    cwd: ROOT,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const url = `http://localhost:${port}`;
  const stop = async (): Promise<number | null> => {
    const code = await stopChild(child);
    await rm(home, { recursive: true, force: true });
    return code;
  };
  try {
    await untilReady(child, url, () => output);
  } catch (error) {
    await stop();
    throw error;
  }
  const printed = (name: string): string => new RegExp(`${name}=(\\S+)`).exec(output)?.[1] ?? "";
  return {
    ...{ url, home, env, pid: child.pid ?? 0, stop },
    clientId: printed("CLIENT_ID"),
    clientSecret: printed("CLIENT_SECRET"),
    output: () => output,
  };
}

/** Settings of whoever runs the tests are not the server's. */
function withoutOwnSettings(env: NodeJS.ProcessEnv): Env {
  const own =
    /^(DATABASE_URL|REDIS_URL|PUBLIC_URL|HOST|PORT|FILES_ROOT|GATEHOUSE_.*|BOOTSTRAP_.*|DEMO_.*|CLIENT_(ID|SECRET))$/;
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value === undefined || own.test(name) ? [] : [[name, value]],
    ),
  );
}

async function untilReady(child: ChildProcess, url: string, output: () => string): Promise<void> {
  const deadline = Date.now() + START_LIMIT_MS;
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(
        `the server ended while starting (${child.exitCode ?? child.signalCode}):\n${output()}`,
      );
    }
    // The api answers before the worker is there; the launcher says when both are.
    if (output().includes("Gatehouse is ready") && (await isReady(url))) return;
    if (Date.now() > deadline) throw new Error(`not ready within ${START_LIMIT_MS} ms:\n${output()}`);
    await delay(50);
  }
}

async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function stopChild(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    await gone;
  }
  return child.exitCode;
}

/** A port that nobody listens on at present. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Runs a program of the project to its end. */
export async function runToEnd(
  args: readonly string[],
  env: Env,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      printed[name] += text;
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...printed };
}
