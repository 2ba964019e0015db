import "dotenv/config";
import { runDemo } from "./demo/run.js";

process.exitCode = await runDemo(process.env, process.cwd(), process.stdout);
