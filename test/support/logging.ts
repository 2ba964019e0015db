import { createLogger } from "../../src/platform/logger.js";

// A process that logs what it is told to, answers, and ends when it is told to.
const logger = createLogger("info", "api");
process.on("message", (text) => {
  if (text === "end") process.exit(0);
  logger.info(text);
  logger.warn(text);
  process.send?.(text);
});
process.send?.("ready");
