import "dotenv/config";
import { loadConfig } from "./config.js";
import { runAll } from "./launcher.js";
import { messageOf } from "./platform/errors.js";
import { growHeapSparingly } from "./platform/heap.js";
import { runRole } from "./role.js";
import { EXIT, type Role } from "./shutdown.js";

const ROLES: readonly string[] = ["all", "api", "worker"] satisfies Role[];

/** `main.js [all | api | worker]`: the role is an argument, everything else comes from the environment. */
async function main(): Promise<void> {
  const role = process.argv[2] ?? "all";
  if (!ROLES.includes(role)) {
    console.error(`gatehouse: unknown role "${role}"; one of ${ROLES.join(", ")}`);
    process.exit(EXIT.usage);
  }
  growHeapSparingly();
  const config = loadConfig(process.env, process.cwd());
  if (role === "all") await runAll(config, process.env);
  else await runRole(config, role as "api" | "worker");
}

main().catch((error: unknown) => {
  console.error(`gatehouse: ${messageOf(error)}`);
  process.exit(EXIT.failed);
});
