import { type ChildProcess, spawn } from "node:child_process";
import { EngineError } from "../engine.js";
import { type Fence, FencedError } from "../substrate.js";
import type { Layout } from "./layout.js";

/**
 * The effects on a place are done by a shell that first takes the place's lock and checks the fence: a worker that was
 * stopped between its check and its effect could not be trusted, a child that does both under one lock can. Variables:
 * D the place's folder, C its control folder, V its volume, W the seconds to wait for the lock, FC and FA the fence,
 * U the user id (empty: the present user).
 *
 * The fence stands in two files of one size, each number twice, so that a broken one is told; the larger counts, and the
 * other one is written over in place. That takes no room: on a full disk, too, a server can be stopped and removed.
 */
const PREAMBLE = `
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
umask 077
as() { if [ -n "$U" ]; then setpriv --reuid="$U" --regid="$U" --clear-groups --no-new-privs -- "$@"; else "$@"; fi; }
exec 9>>"$C/lock" || exit 76
flock -w "$W" 9 || exit 73
pair() { printf '%016d %016d %016d %016d\\n' "$1" "$2" "$1" "$2"; }
c=0; a=0; oldest=fence.1
for f in fence.1 fence.2; do
  [ -s "$C/$f" ] || pair 0 0 > "$C/$f" || exit 74
  x=; y=; p=; q=
  read -r x y p q < "$C/$f"
  if [ -z "$q" ] || [ "$x $y" != "$p $q" ]; then oldest=$f; continue; fi
  if [ "$x" -gt "$c" ] || { [ "$x" -eq "$c" ] && [ "$y" -gt "$a" ]; }; then
    c=$x; a=$y
    [ "$f" = fence.1 ] && oldest=fence.2 || oldest=fence.1
  fi
done
if [ "$c" -gt "$FC" ] || { [ "$c" -eq "$FC" ] && [ "$a" -gt "$FA" ]; }; then exit 75; fi
if [ "$c" -ne "$FC" ] || [ "$a" -ne "$FA" ]; then
  pair "$FC" "$FA" 1<> "$C/$oldest" || exit 74
fi
`;

/** How long an effect waits for another one at the same place, seconds. */
const LOCK_WAIT_S = 30;

/** Exit codes of guarded scripts that are told from those of the programs in them. */
export const EXIT = { running: 71, noUser: 72 } as const;

export interface GuardedScript {
  readonly layout: Layout;
  readonly fence: Fence;
  /** Undefined: the present user, or none yet. */
  readonly uid: number | undefined;
}

/** The words that run `script` under the place's lock, after the fence was checked there. */
export function guarded(place: GuardedScript, script: string, args: readonly string[]) {
  const { layout, fence, uid } = place;
  return {
    command: "/bin/sh",
    args: ["-c", PREAMBLE + script, "gatehouse", ...args],
    env: {
      D: layout.folder,
      C: layout.control,
      V: layout.volume,
      W: String(LOCK_WAIT_S),
      FC: String(fence.command),
      FA: String(fence.attempt),
      U: uid === undefined ? "" : String(uid),
    },
  };
}

/**
 * Runs a script under the place's lock and fence to its end, which an abort of the caller's does not hasten: effects
 * are short. `input` is what it reads. Resolves to its output; throws FencedError, or an EngineError with what it said.
 */
export async function runGuarded(
  place: GuardedScript,
  script: string,
  args: readonly string[] = [],
  input: string | null = null,
): Promise<string> {
  const { command, args: words, env } = guarded(place, script, args);
  const child = spawn(command, words, {
    cwd: "/",
    env,
    stdio: [input === null ? "ignore" : "pipe", "pipe", "pipe"],
  });
  // What it could not take is told by its exit code.
  child.stdin?.on("error", () => {}).end(input);
  const { code, stdout, stderr } = await ended(child);
  if (code === 0) return stdout;
  throw failure(code, stderr);
}

/** What an exit code of a guarded script means. */
export function failure(code: number | null, stderr: string): Error {
  if (code === 75) return new FencedError();
  if (code === 73) return new EngineError("busy", "another process is at work on this deployment; try again");
  if (code === EXIT.noUser) {
    return new EngineError("failed", "this region has no system user left for another deployment");
  }
  const cause = new Error(`a script of the place ended with ${code}: ${stderr.trim()}`);
  // What dash says of a write for which there is no room.
  if (/No space left on device|Disk quota exceeded|printf: I\/O error/.test(stderr)) {
    return new EngineError("disk_full", "the disk of the region is full", { cause });
  }
  return new EngineError("failed", "a file operation of the deployment failed", { cause });
}

const KEPT = 64 * 1024;

/** Waits for the end of a child and of what it says; keeps the last 64 KiB of each stream that is piped. */
export async function ended(
  child: ChildProcess,
  withOutput = true,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const stdout = collect(withOutput ? child.stdout : null);
  const stderr = collect(child.stderr);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exit) => resolve(exit));
  });
  return { code, stdout: stdout(), stderr: stderr() };
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let kept = Buffer.alloc(0);
  stream?.on("data", (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]);
    if (kept.length > 2 * KEPT) kept = kept.subarray(-KEPT);
  });
  return () => kept.subarray(-KEPT).toString("utf8");
}
