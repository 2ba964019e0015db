/**
 * A launcher in a process of its own, to be killed: node --import tsx launcher.ts <home>
 * Prints one line of JSON when its server is ready. SIGTERM stops the server in order, SIGUSR2 ends the launcher
 * without a word to it.
 */
import { startEmbeddedPostgres } from "../../src/embedded/postgres.js";

const [home] = process.argv.slice(2);
if (home === undefined) throw new Error("usage: launcher.ts <home>");
try {
  const server = await startEmbeddedPostgres({ home, log: () => {} });
  const { url, adminUrl, port } = server;
  process.once("SIGTERM", () => void server.stop().then(() => process.exit(0)));
  process.once("SIGUSR2", () => process.exit(7));
  console.log(JSON.stringify({ url, adminUrl, port, uid: process.getuid?.() }));
} catch (error) {
  console.log(JSON.stringify({ error: (error as Error).message }));
  process.exit(1);
}
