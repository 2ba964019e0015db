import { connect } from "node:net";
import { messageOf } from "../../platform/errors.js";
import type { Health, Observed } from "../engine.js";

const ANSWER_MS = 2_000;
/** Protocol 3.0 (https://www.postgresql.org/docs/15/protocol-message-formats.html, StartupMessage). */
const PROTOCOL = 196_608;
const CANNOT_CONNECT_NOW = "57P03";
const TOO_MANY_CONNECTIONS = "53300";

/** Begins a session and ends it when the password is asked for, as any client does that has none. */
export async function knock({ place, credentials }: Observed, signal: AbortSignal): Promise<Health> {
  if ((await place.status()).state === "stopped") return { status: "stopped", detail: null };
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = connect({ host: place.host, port: place.port });
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      socket.destroy();
    };
    const end = (health: Health): void => {
      finish();
      resolve(health);
    };
    const failed = (detail: string): void => end({ status: "failed", detail });
    const abort = (): void => {
      finish();
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => failed("it does not answer"), ANSWER_MS);
    signal.addEventListener("abort", abort, { once: true });
    socket.once("connect", () => socket.write(startup(credentials.username)));
    socket.once("data", (answer) => end(healthOf(answer)));
    socket.once("error", (error) => failed(messageOf(error)));
    socket.once("close", () => failed("it closed the connection"));
  });
}

function startup(username: string): Buffer {
  const parameters = Buffer.from(`user\0${username}\0database\0${username}\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + parameters.length, 0);
  head.writeInt32BE(PROTOCOL, 4);
  return Buffer.concat([head, parameters]);
}

function healthOf(answer: Buffer): Health {
  if (answer[0] === "R".charCodeAt(0)) return { status: "healthy", detail: null };
  const code = /\0C([0-9A-Z]{5})\0/.exec(answer.toString("latin1"))?.[1];
  if (code === CANNOT_CONNECT_NOW) return { status: "starting", detail: "it starts, or recovers its data" };
  if (code === TOO_MANY_CONNECTIONS) return { status: "healthy", detail: "all its connections are in use" };
  return { status: "failed", detail: `it refuses connections (${code ?? "it speaks another protocol"})` };
}
