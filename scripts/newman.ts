/**
 * npm run postman                 runs postman/ against a server of its own, built from these sources
 * npm run postman -- <base URL>   against a running one, with CLIENT_ID and CLIENT_SECRET from the environment
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, ROOT, startBuiltServer } from "../test/acceptance/server.js";

const COLLECTION = join(ROOT, "postman/gatehouse.postman_collection.json");
const ENVIRONMENT = join(ROOT, "postman/local.postman_environment.json");

interface Environment {
  readonly values: readonly { readonly key: string; readonly value: string }[];
}

/** Runs the collection with the variables of the environment set. Resolves to newman's exit code. */
async function runCollection(variables: Readonly<Record<string, string>>): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-postman-"));
  // In a file of this user's alone, since arguments can be read by everybody on the machine.
  const file = join(folder, "environment.json");
  const environment = JSON.parse(await readFile(ENVIRONMENT, "utf8")) as Environment;
  const values = environment.values.map((one) => ({ ...one, value: variables[one.key] ?? one.value }));
  await writeFile(file, JSON.stringify({ ...environment, values }), { mode: 0o600 });
  try {
    const newman = fileURLToPath(import.meta.resolve("newman/bin/newman.js"));
    const args = [newman, "run", COLLECTION, "--environment", file, "--timeout-request", "30000"];
    const child = spawn(process.execPath, args, { stdio: "inherit" });
    const [code] = (await once(child, "exit")) as [number | null];
    return code ?? 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function againstOwnServer(): Promise<number> {
  build();
  const server = await startBuiltServer();
  try {
    const { url: baseUrl, clientId, clientSecret } = server;
    const code = await runCollection({ baseUrl, clientId, clientSecret });
    if (code !== 0) console.error(`what the server printed:\n${server.output()}`);
    return code;
  } finally {
    await server.stop();
  }
}

async function main([baseUrl]: readonly string[]): Promise<number> {
  if (baseUrl === undefined) return againstOwnServer();
  const { CLIENT_ID: clientId, CLIENT_SECRET: clientSecret } = process.env;
  if (clientId === undefined || clientSecret === undefined) {
    console.error("set CLIENT_ID and CLIENT_SECRET to those of a client of that server");
    return 64;
  }
  return runCollection({ baseUrl, clientId, clientSecret });
}

process.exitCode = await main(process.argv.slice(2));
