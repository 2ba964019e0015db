import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A port through which others reach a server, and at which their connections can be hurt. */
export interface TcpProxy {
  readonly port: number;
  /** Breaks all connections; says how many. */
  cut(): number;
  /** Nothing passes any more, in either direction, and nobody is told; says on how many connections. */
  stall(): number;
  /** What was held back goes on. */
  flow(): void;
  close(): Promise<void>;
}

/** @param target the server's port; asked for each connection */
export async function openTcpProxy(target: () => number): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let stalled = false;
  const server = createServer((client) => {
    const upstream = connect(target(), "127.0.0.1");
    const pair = [client, upstream] as const;
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    for (const [from, to] of [pair, [upstream, client] as const]) {
      from.setNoDelay(true);
      from.on("data", (chunk) => {
        if (!to.write(chunk)) from.pause();
      });
      to.on("drain", () => {
        if (!stalled) from.resume();
      });
      from.on("end", () => to.end());
      from.on("error", end);
      from.on("close", end);
      if (stalled) from.pause();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const cut = (): number => {
    const count = pairs.size;
    for (const [client, upstream] of [...pairs]) {
      // A reset, as a router or a crash would cause it; not a goodbye.
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
    return count;
  };
  const setStalled = (value: boolean): number => {
    stalled = value;
    for (const pair of pairs) for (const socket of pair) value ? socket.pause() : socket.resume();
    return pairs.size;
  };
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    cut,
    stall: () => setStalled(true),
    flow: () => void setStalled(false),
    close: async () => {
      server.close();
      cut();
      await once(server, "close");
    },
  };
}
