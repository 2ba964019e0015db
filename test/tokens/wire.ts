import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** The way to a database, which a test can cut and look at. */
export interface Wire {
  /** The database's URL by this way. */
  readonly url: string;
  /** Pieces that went to the database: a statement is at least one. */
  readonly sent: number;
  /** Breaks what is connected, and lets nobody connect until it is mended. */
  cut(): void;
  mend(): void;
  close(): Promise<void>;
}

export async function openWire(databaseUrl: string): Promise<Wire> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  const state = { isCut: false, sent: 0 };
  const server = createServer((near) => {
    if (state.isCut) return near.destroy();
    const far = connect(Number(target.port), target.hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("data", (bytes) => {
        if (from === near) state.sent += 1;
        to.write(bytes);
      });
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
    return undefined;
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const breakAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: url.href,
    get sent() {
      return state.sent;
    },
    cut() {
      state.isCut = true;
      breakAll();
    },
    mend() {
      state.isCut = false;
    },
    async close() {
      breakAll();
      server.close();
      await once(server, "close");
    },
  };
}
