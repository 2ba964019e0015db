import { spawn } from "node:child_process";
import { PassThrough, Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EngineError } from "../engine.js";
import type { Beginning, Volume, WriteOptions } from "../substrate.js";
import { ended, failure, type GuardedScript, runGuarded } from "./guard.js";
import { changingUser } from "./tool.js";

const MOVE = `cd "$V" || exit 76
if [ ! -e "$1" ] && [ ! -L "$1" ] && [ -e "$2" ]; then exit 0; fi
as mv -fT -- "$1" "$2" && as sync -- "$(dirname -- "$2")"`;
const LINK = `cd "$V" || exit 76
as /bin/sh -c 'ln -sfnT -- "$2" "$1.new" || exit 1
mv -fT -- "$1.new" "$1" || exit 1
case $1 in */*) sync -- "\${1%/*}" ;; *) sync . ;; esac' sh "$1" "$2"`;
const MAKE = `cd "$V" || exit 76
as mkdir -p -- "$@"`;
/** $1 the link, $2 where it leads, and more folders; says what was there before, and leaves it where the link was. */
const BEGIN = `cd "$V" || exit 76
as /bin/sh -c 'for name in *; do
  if [ -e "$name" ] || [ -L "$name" ]; then printf "%s\\n" "$name"; fi
done
if [ -e "$1" ] || [ -L "$1" ]; then exit 0; fi
link=$1
shift
mkdir -p -- "$@" && ln -sT -- "$1" "$link" && sync .' sh "$@"`;
/** Of words <size>:<path>, whose contents are read one after the other, and then a line that says that it was all. */
const WRITE = `cd "$V" || exit 76
as /bin/sh -c '
new=
for file in "$@"; do
  path=\${file#*:}
  head -c "\${file%%:*}" > "$path.new" || exit 1
  new="$new $path"
done
read -r end && [ "$end" = all ] || exit 1
for path in $new; do mv -fT -- "$path.new" "$path" || exit 1; done' sh "$@"`;
const REMOVE = `cd "$V" || exit 76
as rm -rf -- "$1"`;

let written = 0;

/**
 * The volume of a place of the process substrate. Reads and writes are done by children with the place's user, since
 * a root that opens a path of a server's own folder could be led by a link to any file of the machine.
 */
export class ProcessVolume implements Volume {
  private readonly place: GuardedScript;

  constructor(place: GuardedScript) {
    this.place = place;
  }

  path(name: string): string {
    return `${this.place.layout.volume}/${checked(name)}`;
  }

  async write(path: string, content: string | Readable, options: WriteOptions): Promise<number> {
    const { fence } = this.place;
    // A name of its own for each writer: nobody else's half file is renamed.
    const aside = `${checked(path)}.${fence.command}.${fence.attempt}.${process.pid}.${written++}`;
    const child = this.child(["/bin/sh", "-c", 'cat > "$1" && sync -- "$1"', "sh", aside], options.signal);
    const counter = new Counter(options.limitBytes);
    const source = typeof content === "string" ? Readable.from([Buffer.from(content)]) : content;
    try {
      const [flow, end] = await Promise.allSettled([
        pipeline(source, counter, child.stdin, { signal: options.signal }),
        ended(child),
      ]);
      options.signal.throwIfAborted();
      if (end.status === "rejected") throw end.reason;
      if (flow.status === "rejected" && !isBrokenPipe(flow.reason)) throw flow.reason;
      if (end.value.code !== 0) throw failure(end.value.code, end.value.stderr);
      if (flow.status === "rejected") throw flow.reason;
      await this.move(aside, path, options.signal);
    } catch (error) {
      // The caller is told of its own failure, not of this one's; the leftover is in nobody's way.
      await runGuarded(this.place, REMOVE, [aside]).catch(() => {});
      throw error;
    }
    return counter.bytes;
  }

  read(path: string, signal: AbortSignal): Readable {
    const child = this.child(["cat", "--", checked(path)], signal);
    child.stdin.destroy();
    const out = new PassThrough();
    // The end of the bytes is no end until cat says that it was the file's.
    child.stdout.pipe(out, { end: false });
    out.once("close", () => child.kill("SIGKILL"));
    ended(child, false).then(
      ({ code, stderr }) => {
        if (signal.aborted) out.destroy(signal.reason);
        else if (code === 0) out.end();
        else out.destroy(failure(code, stderr));
      },
      (error) => out.destroy(error),
    );
    return out;
  }

  async writeTexts(texts: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const words = Object.entries(texts).map(([path, text]) => `${Buffer.byteLength(text)}:${checked(path)}`);
    await runGuarded(this.place, WRITE, words, `${Object.values(texts).join("")}all\n`);
  }

  async makeFolders(paths: readonly string[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await runGuarded(this.place, MAKE, paths.map(checked));
  }

  async begin({ link, target, folders }: Beginning, signal: AbortSignal): Promise<readonly string[]> {
    signal.throwIfAborted();
    const found = await runGuarded(this.place, BEGIN, [link, target, ...folders].map(checked));
    return found.split("\n").filter((name) => name !== "");
  }

  async move(from: string, to: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await runGuarded(this.place, MOVE, [checked(from), checked(to)]);
  }

  async link(link: string, target: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (target.includes("/")) throw new Error(`a link leads to a sibling, not to ${target}`);
    await runGuarded(this.place, LINK, [checked(link), checked(target)]);
  }

  async linked(link: string, signal: AbortSignal): Promise<string | null> {
    const child = this.child(["readlink", "--", checked(link)], signal);
    const { code, stdout } = await ended(child);
    signal.throwIfAborted();
    return code === 0 ? stdout.trim() : null;
  }

  async list(path: string, signal: AbortSignal): Promise<readonly string[]> {
    const child = this.child(
      ["find", path === "." ? path : checked(path), "-mindepth", "1", "-maxdepth", "1", "-printf", "%f\\n"],
      signal,
    );
    const { stdout } = await ended(child);
    signal.throwIfAborted();
    return stdout.split("\n").filter((name) => name !== "");
  }

  async remove(path: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await runGuarded(this.place, REMOVE, [checked(path)]);
  }

  /** A child in the volume, with the place's user; killed by an abort. */
  private child(words: readonly string[], signal: AbortSignal) {
    signal.throwIfAborted();
    const { uid, layout } = this.place;
    const [command = "", ...args] = [...changingUser({ uid, gid: uid }, ["--pdeathsig=KILL"]), ...words];
    const child = spawn(command, args, {
      cwd: layout.volume,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const kill = () => child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    child.once("close", () => signal.removeEventListener("abort", kill));
    // What it could not take is told by its exit code.
    child.stdin.on("error", () => {});
    return child;
  }
}

/** Passes bytes on and counts them, up to a limit. */
class Counter extends Transform {
  bytes = 0;
  private readonly limit: number;

  constructor(limit: number) {
    super();
    this.limit = limit;
  }

  override _transform(chunk: Buffer, _encoding: string, done: (error?: Error | null, data?: Buffer) => void) {
    this.bytes += chunk.length;
    if (this.bytes <= this.limit) done(null, chunk);
    else done(new EngineError("too_large", `the archive has more than ${this.limit} bytes`));
  }
}

/** The path, where it is one in a volume. */
export function checked(path: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*)*$/.test(path)) return path;
  throw new Error(`no path in a volume: ${path}`);
}

function isBrokenPipe(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "EPIPE" || code === "ERR_STREAM_PREMATURE_CLOSE" || code === "ERR_STREAM_DESTROYED";
}
