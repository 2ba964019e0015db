import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { until } from "../support/until.js";

/** A message as it arrived. */
export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly message: {
    readonly id: string;
    readonly type: string;
    readonly timestamp: string;
    readonly projectId: string | null;
    readonly truncated?: boolean;
    readonly data: Readonly<Record<string, unknown>>;
  };
}

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** What comes after the body, if not its end: nothing, ever, or the end of the connection. */
  readonly then?: "silence" | "break";
}

/** A real HTTP server that webhooks are sent to. */
export interface Receiver {
  readonly url: string;
  readonly port: number;
  readonly received: readonly Received[];
  /** How many requests are being answered now, and how many there were at most. */
  readonly open: { readonly now: number; readonly most: number };
  /** What is answered from now on; default 200. */
  answer(reply: (received: Received) => Reply | Promise<Reply>): void;
  /** Leaves messages without an answer, until what it returns is called with one: it is the answer to them all. */
  hold(): (reply: Reply) => void;
  /** Waits for so many messages in all. */
  until(count: number): Promise<readonly Received[]>;
  close(): Promise<void>;
}

const running = new Set<Receiver>();

/** Closes whatever is still open. For `afterEach`. */
export async function closeReceivers(): Promise<void> {
  await Promise.all([...running].map((receiver) => receiver.close()));
}

export async function openReceiver(path = "/hook"): Promise<Receiver> {
  const received: Received[] = [];
  const open = { now: 0, most: 0 };
  let reply: (one: Received) => Reply | Promise<Reply> = () => ({ status: 200, body: "ok" });
  const server: Server = createServer(async (request, response) => {
    open.now += 1;
    open.most = Math.max(open.most, open.now);
    response.once("close", () => {
      open.now -= 1;
    });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString("utf8");
    const one = { path: request.url ?? "", headers: request.headers, text, message: JSON.parse(text) };
    received.push(one);
    const { status, headers = {}, body = "", then } = await reply(one);
    if (response.destroyed) return;
    response.writeHead(status, headers);
    if (then === undefined) response.end(body);
    else response.write(body, () => then === "break" && response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const receiver: Receiver = {
    ...{ url: `http://127.0.0.1:${port}${path}`, port, received, open },
    answer: (next) => {
      reply = next;
    },
    hold() {
      let release = (_reply: Reply): void => {};
      const held = new Promise<Reply>((resolve) => {
        release = resolve;
      });
      reply = () => held;
      return (answer) => release(answer);
    },
    until: (count) =>
      until(`${count} messages have come`, () => (received.length >= count ? received : null)),
    async close() {
      running.delete(receiver);
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  running.add(receiver);
  return receiver;
}

/** Checks a message with the library that receivers use; throws where it does not hold. */
export function verify(secret: string, { text, headers }: Received): unknown {
  return new Webhook(secret).verify(text, headers as Record<string, string>);
}
