import { connect } from "node:net";
import { Redis } from "ioredis";
import { messageOf } from "../../platform/errors.js";
import { type EngineContext, EngineError, type Health, type Observed } from "../engine.js";
import { polling } from "../polling.js";
import { ADMIN } from "./settings.js";

/** Where Gatehouse reaches a server. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

const ANSWER_MS = 30_000;

/**
 * Does something through Gatehouse's own account, over a connection that ends with it. Throws EngineError `unavailable`
 * where the server does not let it in.
 */
export async function asAdmin<T>(
  address: Address,
  secret: string,
  signal: AbortSignal,
  work: (client: Redis) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const client = new Redis({
    ...address,
    username: ADMIN,
    password: secret,
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    connectTimeout: 5_000,
    commandTimeout: ANSWER_MS,
  });
  // Each command's own failure is thrown; this one says the same once more.
  client.on("error", () => {});
  const abort = () => client.disconnect();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await client.connect();
  } catch (cause) {
    signal.removeEventListener("abort", abort);
    client.disconnect();
    signal.throwIfAborted();
    throw new EngineError("unavailable", "the database does not answer", { cause });
  }
  try {
    return await work(client);
  } catch (error) {
    signal.throwIfAborted();
    if (!ENDED.test(messageOf(error))) throw error;
    throw new EngineError("unavailable", "the database server ended meanwhile", { cause: error });
  } finally {
    signal.removeEventListener("abort", abort);
    client.disconnect();
  }
}

/** What ioredis says of a command that was never answered. */
const ENDED =
  /^(Connection is closed|Stream isn't writeable|Command timed out|Reached the max retries|(read|write) E)/;

export type Info = ReadonlyMap<string, string>;

/** The fields of a section of INFO. */
export async function infoOf(client: Redis, section: string): Promise<Info> {
  const text = await client.info(section);
  return new Map(
    text.split("\r\n").flatMap((line) => {
      const colon = line.indexOf(":");
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
    }),
  );
}

export function numberIn(info: Info, field: string): number {
  return Number(info.get(field) ?? 0);
}

const HEALTH_MS = 2_000;

/** Asks without an account: that it wants one says that it serves. */
export async function ping({ place }: Observed, signal: AbortSignal): Promise<Health> {
  if ((await place.status()).state === "stopped") return { status: "stopped", detail: null };
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = connect({ host: place.host, port: place.port });
    const end = (health: Health) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      socket.destroy();
      resolve(health);
    };
    const abort = () => {
      clearTimeout(timer);
      socket.destroy();
      reject(signal.reason);
    };
    const failed = (detail: string) => end({ status: "failed", detail });
    const timer = setTimeout(() => failed("it does not answer"), HEALTH_MS);
    signal.addEventListener("abort", abort, { once: true });
    socket.once("connect", () => socket.write("PING\r\n"));
    socket.once("data", (answer) => end(healthOf(answer.toString("latin1"))));
    socket.once("error", (error) => failed(messageOf(error)));
    socket.once("close", () => failed("it closed the connection"));
  });
}

function healthOf(answer: string): Health {
  if (/^-NOAUTH |^\+PONG/.test(answer)) return { status: "healthy", detail: null };
  if (answer.startsWith("-LOADING")) return { status: "starting", detail: "it loads its data" };
  if (/^-ERR max number of clients/.test(answer)) {
    return { status: "healthy", detail: "all its connections are in use" };
  }
  return { status: "failed", detail: `it answers ${answer.trim().slice(0, 100)}` };
}

/** Waits until the server at `address` lets Gatehouse in; `gone` tells when there is nothing to wait for any more. */
export async function untilServing(
  address: Address,
  secret: string,
  context: Pick<EngineContext, "signal">,
  gone: () => Promise<boolean>,
): Promise<void> {
  const { signal } = context;
  await polling(signal, async () => {
    try {
      return await asAdmin(address, secret, signal, async (client) => (await client.ping()) === "PONG");
    } catch (error) {
      signal.throwIfAborted();
      if (await gone()) throw error;
      return false;
    }
  });
}
