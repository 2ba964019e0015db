import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chown, mkdtemp, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { createProcessSubstrate } from "../../src/engines/process/substrate.js";
import { FencedError, type Place, type PlaceStatus, type ServerSpec } from "../../src/engines/substrate.js";
import { lifeOf } from "../../src/platform/processes.js";
import { until } from "../support/until.js";
import { createRegion, freePort, LIMITS, MIB, NEVER, openPlace } from "./support.js";
import { startWorker } from "./worker-process.js";

const region = await createRegion();
const asRoot = process.getuid?.() === 0;
const SLEEPER: ServerSpec = { program: "/bin/sleep", args: ["1000"], env: {}, openFiles: 256 };
const shell = (script: string): ServerSpec => ({ ...SLEEPER, program: "/bin/sh", args: ["-c", script] });
const stopping = { stopSignal: "SIGTERM", graceMs: 10_000 } as const;

function pidOf(status: PlaceStatus): number {
  if (status.state === "stopped") throw new Error("no server runs");
  return status.pid;
}

async function place(command = 1): Promise<Place> {
  return openPlace(region, await region.spec(), command);
}

async function runTool(at: Place, script: string): Promise<string> {
  const { stdout } = await at.run(
    { program: "/bin/sh", args: ["-c", script], env: {}, timeoutMs: 10_000 },
    NEVER,
  );
  return stdout.trim();
}

test("a started server is seen, left alone by a second start, stopped, and not there afterwards", async () => {
  const at = await place();
  expect(await at.status()).toEqual({ state: "stopped" });
  const first = await at.start(SLEEPER, NEVER);
  expect(first).toMatchObject({ state: "running", life: lifeOf(pidOf(first)) });
  const second = await at.start(SLEEPER, NEVER);
  expect(pidOf(second)).toBe(pidOf(first));
  await at.stop(stopping, NEVER);
  await at.stop(stopping, NEVER);
  expect(await at.status()).toEqual({ state: "stopped" });
  expect(lifeOf(pidOf(first))).toBeUndefined();
});

test("ten starts at once by three processes make one server", async () => {
  const spec = await region.spec();
  const task = { root: region.root, spec, fence: { command: 1, attempt: 1 }, server: SLEEPER };
  const workers = await Promise.all([1, 2].map(() => startWorker({ ...task, effect: "start" })));
  const here = await Promise.all(Array.from({ length: 8 }, () => openPlace(region, spec)));
  for (const worker of workers) worker.go();
  const started = await Promise.all(here.map((at) => at.start(SLEEPER, NEVER)));
  for (const worker of workers) expect(await worker.ended()).toBe("DONE");
  const pids = [
    ...started.map(pidOf),
    ...workers.map((worker) => pidOf(JSON.parse(worker.said().split("\n")[1] ?? ""))),
  ];
  expect(new Set(pids).size).toBe(1);
  expect(pids).toHaveLength(10);
});

test("a server outlives the worker that started it, and another one adopts it", async () => {
  const spec = await region.spec();
  const task = { root: region.root, spec, fence: { command: 1, attempt: 1 }, server: SLEEPER };
  const worker = await startWorker({ ...task, effect: "start" });
  worker.go();
  expect(await worker.ended()).toBe("DONE");
  const again = createProcessSubstrate({ root: region.root });
  const status = await again.look(spec).status();
  expect(status.state).toBe("running");
  const at = await again.open(spec, { command: 1, attempt: 2 }, NEVER);
  expect(pidOf(await at.start(SLEEPER, NEVER))).toBe(pidOf(status));
  await at.stop(stopping, NEVER);
});

test("a smaller fence is refused for every effect", async () => {
  const spec = await region.spec();
  const old = await openPlace(region, spec, 3, 9);
  await old.volume.write("kept", "as it was", { limitBytes: 100, signal: NEVER });
  const now = await openPlace(region, spec, 4, 1);
  const status = await now.start(SLEEPER, NEVER);
  const effects = [
    () => openPlace(region, spec, 3, 10),
    () => old.start(SLEEPER, NEVER),
    () => old.stop(stopping, NEVER),
    () => old.remove(NEVER),
    () => old.volume.write("kept", "changed", { limitBytes: 100, signal: NEVER }),
    () => old.volume.writeTexts({ kept: "changed" }, NEVER),
    () => old.volume.move("kept", "moved", NEVER),
    () => old.volume.link("kept", "elsewhere", NEVER),
    () => old.volume.remove("kept", NEVER),
    () => old.volume.makeFolders(["made"], NEVER),
    () => old.volume.begin({ link: "made", target: "new", folders: [] }, NEVER),
    () =>
      old.make(
        "made",
        (folder) => ({ program: "/bin/mkdir", args: [folder], env: {}, timeoutMs: 5_000 }),
        NEVER,
      ),
  ];
  for (const effect of effects) await expect(effect()).rejects.toThrow(FencedError);
  expect(await now.status()).toMatchObject({ state: "running", pid: pidOf(status) });
  expect(await text(now.volume.read("kept", NEVER))).toBe("as it was");
  expect(await now.volume.list("made", NEVER)).toEqual([]);
});

test.each(["start", "stop", "write", "remove"] as const)(
  "a worker that was stopped (SIGSTOP) before its %s changes nothing when it goes on",
  async (effect) => {
    const spec = await region.spec();
    const task = { root: region.root, spec, fence: { command: 1, attempt: 1 }, server: SLEEPER };
    const worker = await startWorker({ ...task, effect });
    worker.child.kill("SIGSTOP");
    worker.go();
    const now = await openPlace(region, spec, 1, 2);
    const before = effect === "start" ? await now.status() : await now.start(SLEEPER, NEVER);
    worker.child.kill("SIGCONT");
    expect(await worker.ended()).toContain("FencedError");
    expect(await now.status()).toMatchObject({ state: before.state });
    expect(await now.volume.list("written", NEVER)).toEqual([]);
    await now.stop(stopping, NEVER);
  },
);

test("a removed place stays fenced: an old worker cannot make it anew", async () => {
  const spec = await region.spec();
  const at = await openPlace(region, spec, 2);
  await at.start(SLEEPER, NEVER);
  const pid = pidOf(await at.status());
  await at.remove(NEVER);
  await at.remove(NEVER);
  expect(lifeOf(pid)).toBeUndefined();
  expect(await region.substrate.list(NEVER)).not.toContain(spec.id);
  await expect(openPlace(region, spec, 1)).rejects.toThrow(FencedError);
  expect(await region.substrate.list(NEVER)).not.toContain(spec.id);
  // A repeated terminate opens it once more.
  const again = await openPlace(region, spec, 2, 2);
  await again.remove(NEVER);
  expect(existsSync(at.socketFolder)).toBe(false);
});

test("a server that ignores the signal is killed with its children after the grace", async () => {
  const at = await place();
  const status = await at.start(shell("trap '' TERM; sleep 998 & while :; do sleep 0.1; done"), NEVER);
  await until("it ignores the signal", async () => (await childrenOf(pidOf(status))).length > 0);
  const children = await childrenOf(pidOf(status));
  await at.stop({ stopSignal: "SIGTERM", graceMs: 300 }, NEVER);
  for (const pid of [pidOf(status), ...children]) expect(lifeOf(pid)).toBeUndefined();
});

test("children that outlive their server are seen, keep a new one from starting, and end with a stop", async () => {
  const at = await place();
  const status = await at.start(shell("sleep 997 & exec sleep 1000"), NEVER);
  const children = await until("it has a child", async () => {
    const found = await childrenOf(pidOf(status));
    return found.length > 0 && found;
  });
  process.kill(pidOf(status), "SIGKILL");
  await until("the server is gone", async () => (await at.status()).state === "ending");
  expect((await at.start(SLEEPER, NEVER)).state).toBe("ending");
  await at.stop(stopping, NEVER);
  for (const pid of children) expect(lifeOf(pid)).toBeUndefined();
  expect((await at.start(SLEEPER, NEVER)).state).toBe("running");
  await at.stop(stopping, NEVER);
});

test("servers and tools get nothing of the worker's environment, no input, no core dumps and limits", async () => {
  process.env["GATEHOUSE_MASTER_KEY_TEST"] = "never to be seen";
  const at = await place();
  try {
    const script =
      "env > environment; ulimit -a > limits; ls -l /proc/self/fd > descriptors; cat > input; touch done; sleep 1000";
    await at.start({ ...shell(script), env: { GIVEN: "1" } }, NEVER);
    await until(
      "it has written all",
      async () => (await at.volume.list("done", NEVER)) && existsSyncIn(at, "done"),
    );
    const environment = await text(at.volume.read("environment", NEVER));
    const names = environment
      .split("\n")
      .map((line) => line.split("=")[0])
      .filter((name) => name !== "");
    expect(names.sort()).toEqual(["GIVEN", "HOME", "LANG", "PATH", "PWD", "TMPDIR"]);
    expect(await text(at.volume.read("input", NEVER))).toBe("");
    expect(await text(at.volume.read("limits", NEVER))).toMatch(/coredump\(blocks\)\s+0\n/);
    expect(await runTool(at, "env")).not.toContain("never to be seen");
    const status = pidOf(await at.status());
    const limits = await readFile(`/proc/${status}/limits`, "utf8");
    expect(limits).toMatch(/Max core file size\s+0/);
    expect(limits).toMatch(new RegExp(`Max data size\\s+${2 * LIMITS.memoryBytes + 512 * MIB}`));
    expect(limits).toMatch(/Max open files\s+256/);
  } finally {
    delete process.env["GATEHOUSE_MASTER_KEY_TEST"];
    await at.stop(stopping, NEVER);
  }
});

test.skipIf(!asRoot)(
  "under root each place has a user of its own that sees no other place and no control file",
  async () => {
    const [one, two] = [await place(), await place()];
    await two.volume.write("private", "of two", { limitBytes: 100, signal: NEVER });
    const ids = [await runTool(one, "id -u"), await runTool(two, "id -u")];
    expect(new Set(ids).size).toBe(2);
    expect(ids).not.toContain("0");
    expect(await runTool(one, "id -G")).toBe(ids[0]);
    for (const path of [two.volume.path("private"), join(region.root, "control"), "/root", "/etc/shadow"]) {
      expect(await runTool(one, `cat ${path} 2>&1 || ls ${path} 2>&1; true`)).toContain("Permission denied");
    }
    expect(await runTool(one, "grep NoNewPrivs /proc/self/status")).toBe("NoNewPrivs:\t1");
    const status = await one.start(SLEEPER, NEVER);
    const shown = await until("it has become the server", async () => {
      const found = await readFile(`/proc/${pidOf(status)}/status`, "utf8");
      return found.startsWith("Name:\tsleep") && found;
    });
    expect(shown).toMatch(new RegExp(`Uid:\\s+${ids[0]}\\s+${ids[0]}`));
    expect(shown).toMatch(/CapEff:\s+0000000000000000/);
    await one.stop(stopping, NEVER);
  },
);

test.skipIf(!asRoot)(
  "a link in a volume leads reads and writes nowhere that the place's user cannot go",
  async () => {
    const at = await place();
    await writeFile(join(region.root, "secret"), "of the control plane", { mode: 0o600 });
    await symlink(join(region.root, "secret"), at.volume.path("link"));
    await expect(text(at.volume.read("link", NEVER))).rejects.toThrow();
    await at.volume.write("link", "replaced", { limitBytes: 100, signal: NEVER });
    expect(await readFile(join(region.root, "secret"), "utf8")).toBe("of the control plane");
  },
);

test("without root a place is served by the worker's own user", async () => {
  if (!asRoot) return;
  const root = await mkdtemp("/tmp/gatehouse-plain-");
  await chown(root, 65_534, 65_534);
  const spec = { id: "00000000-0000-7000-8000-000000000001", port: await freePort(), limits: LIMITS };
  const task = {
    root: join(root, "r"),
    spec,
    server: shell("trap '' TERM; sleep 996 & wait; sleep 995"),
    uid: 65_534,
  };
  const worker = await startWorker({ ...task, fence: { command: 1, attempt: 1 }, effect: "all" });
  worker.go();
  expect(await worker.ended()).toBe("DONE");
  expect(worker.said()).toContain('"state":"running"');
  expect(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })).not.toMatch(/sleep 99[65]/);
  execFileSync("rm", ["-rf", root]);
});

test("a write is complete or not there, and past its limit too_large", async () => {
  const at = await place();
  const options = { limitBytes: 1000, signal: NEVER };
  expect(await at.volume.write("file", Readable.from([Buffer.alloc(1000, 1)]), options)).toBe(1000);
  await expect(
    at.volume.write("file", Readable.from([Buffer.alloc(1001, 2)]), options),
  ).rejects.toMatchObject({
    code: "too_large",
  });
  const broken = new Readable({
    read() {
      this.push(Buffer.alloc(10, 3));
      this.destroy(new Error("the upload broke"));
    },
  });
  await expect(at.volume.write("file", broken, options)).rejects.toThrow("the upload broke");
  expect(await buffer(at.volume.read("file", NEVER))).toEqual(Buffer.alloc(1000, 1));
  await expect(buffer(at.volume.read("absent", NEVER))).rejects.toThrow();
  expect(await runTool(at, "ls")).toBe("file");
});

test("texts are written together, each under its own name, and on a place's own paths alone", async () => {
  const at = await place();
  await at.volume.makeFolders(["conf"], NEVER);
  const texts = { "conf/a": "first\nwith ü and no end of line", "conf/empty": "", b: "x".repeat(100_000) };
  await at.volume.writeTexts(texts, NEVER);
  for (const [path, content] of Object.entries(texts)) {
    expect(await text(at.volume.read(path, NEVER))).toBe(content);
  }
  await expect(at.volume.writeTexts({ "absent/a": "x", b: "y" }, NEVER)).rejects.toThrow();
  expect(await text(at.volume.read("b", NEVER))).toBe(texts.b);
  await expect(at.volume.writeTexts({ "../x": "x" }, NEVER)).rejects.toThrow("no path in a volume");
});

test("a volume begins once, on a place's own paths alone, and what was there is told", async () => {
  const at = await place();
  const first = { link: "current", target: "one", folders: ["conf"] };
  expect(await at.volume.begin(first, NEVER)).toEqual([]);
  expect(await at.volume.begin({ ...first, target: "two" }, NEVER)).toEqual(["conf", "current", "one"]);
  expect(await at.volume.linked("current", NEVER)).toBe("one");
  expect(await at.volume.list("two", NEVER)).toEqual([]);
  await at.volume.remove("current", NEVER);
  expect(await at.volume.begin({ ...first, target: "three" }, NEVER)).toEqual(["conf", "one"]);
  expect(await at.volume.linked("current", NEVER)).toBe("three");
  await expect(at.volume.begin({ ...first, link: "../x" }, NEVER)).rejects.toThrow("no path in a volume");
});

test("a server finds the texts that it was started with, and keeps them while it runs", async () => {
  const at = await place();
  const texts = { first: "a 'line' of $HOME\nand ü without an end", empty: "", last: "x".repeat(100_000) };
  const server = { ...shell("cat first empty last > copy; env > e; mv e env; exec sleep 1000"), texts };
  await at.start(server, NEVER);
  await until("it has read them", async () => (await at.volume.list(".", NEVER)).includes("env"));
  expect(await text(at.volume.read("copy", NEVER))).toBe(Object.values(texts).join(""));
  expect(await text(at.volume.read("env", NEVER))).not.toMatch(/^[TF]\d?=/m);
  await at.start({ ...server, texts: { first: "changed" } }, NEVER);
  expect(await text(at.volume.read("first", NEVER))).toBe(texts.first);
  await at.stop(stopping, NEVER);
  await expect(at.start({ ...server, texts: { "absent/a": "x" } }, NEVER)).rejects.toThrow();
  await expect(at.start({ ...server, texts: { "../a": "x" } }, NEVER)).rejects.toThrow("no path in a volume");
  expect(await at.status()).toEqual({ state: "stopped" });
});

test("links change at once and moves may be repeated", async () => {
  const at = await place();
  await at.volume.makeFolders(["one/deep"], NEVER);
  await at.volume.makeFolders(["two"], NEVER);
  await at.volume.link("current", "one", NEVER);
  expect(await at.volume.linked("current", NEVER)).toBe("one");
  await at.volume.link("current", "two", NEVER);
  expect(await at.volume.linked("current", NEVER)).toBe("two");
  await at.volume.move("one", "moved", NEVER);
  await at.volume.move("one", "moved", NEVER);
  expect([...(await at.volume.list("moved", NEVER))]).toEqual(["deep"]);
  await expect(at.volume.move("absent", "nowhere", NEVER)).rejects.toThrow();
  for (const path of ["../x", "/etc/passwd", "a/../b", "-rf", "", "a\nb"]) {
    await expect(at.volume.remove(path, NEVER)).rejects.toThrow("no path in a volume");
  }
});

test("what a tool makes is there complete or not at all", async () => {
  const at = await place();
  const making = (script: string) => (folder: string) => ({
    program: "/bin/sh",
    args: ["-c", `mkdir ${folder}; touch ${folder}/a; ${script}`],
    env: {},
    timeoutMs: 5_000,
  });
  await expect(at.make("data", making("exit 3"), NEVER)).rejects.toMatchObject({ exitCode: 3 });
  expect(await at.volume.list("data", NEVER)).toEqual([]);
  await at.make("data", making("touch $0/b; true"), NEVER).catch(() => {});
  await at.make("data", making("true"), NEVER);
  await at.make("data", making("true"), NEVER);
  expect(await at.volume.list("data", NEVER)).toEqual(["a"]);
  expect(await runTool(at, "touch data/c && ls data | wc -l")).toBe("2");
});

test("a tool ends with an abort, after its time, and with its worker", async () => {
  const spec = await region.spec();
  const at = await openPlace(region, spec);
  const tool = { program: "/bin/sh", args: ["-c", "sleep 993 & sleep 993"], env: {} };
  const controller = new AbortController();
  const running = at.run({ ...tool, timeoutMs: 60_000 }, controller.signal);
  controller.abort(new Error("cancelled"));
  await expect(running).rejects.toThrow("cancelled");
  await expect(at.run({ ...tool, timeoutMs: 100 }, NEVER)).rejects.toMatchObject({ exitCode: null });
  const server = { ...SLEEPER, args: ["994"] };
  const task = { root: region.root, spec, fence: { command: 1, attempt: 1 }, server };
  const worker = await startWorker({ ...task, effect: "tool" });
  worker.go();
  await worker.says("TOOL");
  await until("the tool runs", () => commands().includes("sleep 994"));
  worker.child.kill("SIGKILL");
  await until("the tool is gone", () => !/sleep 99[34]/.test(commands()));
});

// What is said in the moment of a cut may be lost: so the last line is said until it is read.
test("the log is readable, and kept within its bound", async () => {
  const at = await place();
  await at.start(
    shell(
      'i=0; while [ $i -lt 90000 ]; do echo "line $i of the log of a server that talks a lot"; i=$((i+1)); done; while :; do echo "line 90000 is the last"; sleep 0.1; done',
    ),
    NEVER,
  );
  await until("all was said and cut", async () => {
    await at.memory();
    return (await at.logs(4_000)).includes("line 90000 ");
  });
  const tail = await at.logs(1_000);
  expect(tail.length).toBeLessThanOrEqual(1_000);
  expect(tail).toMatch(/^line \d+ (of|is)/);
  const folder = join(region.root, "places", at.id);
  let total = 0;
  for (const name of await readdir(folder)) {
    if (name.startsWith("server.log")) total += (await stat(join(folder, name))).size;
  }
  expect(total).toBeLessThan(6 * MIB);
  await at.stop(stopping, NEVER);
});

test("memory, size, ports and what is left are told as they are", async () => {
  const spec = await region.spec();
  const at = await openPlace(region, spec);
  await at.volume.write("data", Readable.from([Buffer.alloc(3 * MIB, 7)]), {
    limitBytes: 4 * MIB,
    signal: NEVER,
  });
  expect(await at.size(NEVER)).toBeGreaterThanOrEqual(3 * MIB);
  expect(await at.size(NEVER, "data")).toBeLessThan(4 * MIB);
  expect(await at.size(NEVER, "absent")).toBe(0);
  const status = await at.start(
    {
      ...SLEEPER,
      program: process.execPath,
      args: ["-e", "const b=Buffer.alloc(50e6,1);setInterval(()=>b[0],1e3)"],
    },
    NEVER,
  );
  await until("it has taken its memory", async () => {
    return ((await at.memory()) ?? 0) > 50e6;
  });
  expect(status.state).toBe("running");
  expect(await region.substrate.list(NEVER)).toContain(spec.id);
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  expect(await region.substrate.listening()).toContain(port);
  taken.close();
  await once(taken, "close");
  expect(await region.substrate.listening()).not.toContain(port);
  await at.stop(stopping, NEVER);
});

function existsSyncIn(at: Place, name: string): boolean {
  return existsSync(at.volume.path(name));
}

function commands(): string {
  return execFileSync("ps", ["-eo", "stat,args"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => !line.startsWith("Z"))
    .join("\n");
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text
    .split(" ")
    .filter((word) => word !== "")
    .map(Number);
}
