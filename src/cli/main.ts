#!/usr/bin/env node
import { fileURLToPath } from "node:url";
import { EXIT } from "../shutdown.js";
import { VERSION } from "../version.js";

interface Command {
  readonly usage: string;
  readonly summary: string;
  run(args: readonly string[]): Promise<void> | void;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  start: {
    usage: "start [all | api | worker]",
    summary: "serve; all: the database where none is configured, an api and a worker",
    run: (args) => become("../main.js", args),
  },
  demo: {
    usage: "demo",
    summary: "show the main job against the running server",
    run: (args) => become("./demo.js", args),
  },
  keys: {
    usage: "keys list | rotate | rewrap",
    summary: "the keys that tokens are signed with, and the change of the master key",
    run: keys,
  },
  help: { usage: "help", summary: "this text", run: () => console.log(help()) },
  version: { usage: "version", summary: `this version (${VERSION})`, run: () => console.log(VERSION) },
};

const ALIASES: Readonly<Record<string, string>> = {
  "--help": "help",
  "-h": "help",
  "--version": "version",
  "-v": "version",
};

/** Goes on as another program in this very process: signals and exit codes are that program's. */
async function become(file: string, args: readonly string[]): Promise<void> {
  const url = new URL(file, import.meta.url);
  process.argv = [process.execPath, fileURLToPath(url), ...args];
  await import(url.href);
}

async function keys(args: readonly string[]): Promise<void> {
  await import("dotenv/config");
  const { runKeys } = await import("./keys-commands.js");
  process.exitCode = await runKeys(args, process.env, process.cwd());
}

function help(): string {
  const commands = Object.values(COMMANDS);
  const width = Math.max(...commands.map(({ usage }) => usage.length));
  const lines = commands.map(({ usage, summary }) => `  gatehouse ${usage.padEnd(width)}  ${summary}`);
  return ["gatehouse: a gateway in front of a jobs and deployments API", "", ...lines].join("\n");
}

const [name = "help", ...args] = process.argv.slice(2);
const command = COMMANDS[ALIASES[name] ?? name];
if (command === undefined) {
  console.error(`gatehouse: unknown command "${name}"\n\n${help()}`);
  process.exit(EXIT.usage);
}
await command.run(args);
