import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface BurstOptions {
  readonly url: URL;
  readonly count: number;
  readonly connections: number;
  /** Headers of a request, one a line. */
  readonly headers: (nr: number) => string;
}

/** What one answer ends with: its head, and as many bytes as that says. */
const HEAD_END = "\r\n\r\n";

/**
 * Sends so many POST requests without a body over HTTP/1.1, each connection one after the other, and counts those that are
 * answered with 202. It does next to nothing: on a machine that it shares with what is measured, its own work is part of
 * the measurement. Answers have to have a `Content-Length`. Rejects where a connection breaks.
 * @returns seconds
 */
export async function burst({ url, count, connections, headers }: BurstOptions): Promise<number> {
  let sent = 0;
  let accepted = 0;
  const head = `POST ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nContent-Length: 0\r\n`;
  const sockets = await Promise.all(
    Array.from({ length: connections }, () => open(url.hostname, Number(url.port))),
  );
  const began = performance.now();
  try {
    await Promise.all(
      sockets.map(
        (socket) =>
          new Promise<void>((resolve, reject) => {
            const next = (): void => {
              if (sent === count) resolve();
              else socket.write(`${head}${headers(sent++)}\r\n\r\n`, "latin1");
            };
            let text = "";
            socket.on("data", (part) => {
              text += part;
              const end = text.indexOf(HEAD_END);
              if (end < 0) return;
              const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1];
              if (length === undefined) return reject(new Error(`an answer without a length: ${text}`));
              if (text.length < end + HEAD_END.length + Number(length)) return;
              if (text.startsWith("HTTP/1.1 202 ")) accepted += 1;
              text = "";
              next();
            });
            socket.on("error", reject).on("close", () => reject(new Error("the server has hung up")));
            next();
          }),
      ),
    );
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  const seconds = (performance.now() - began) / 1_000;
  if (accepted !== count) throw new Error(`${count - accepted} requests were not accepted`);
  return seconds;
}

async function open(host: string, port: number): Promise<Socket> {
  // Bytes, not characters, are counted in the head.
  const socket = connect({ host, port, noDelay: true }).setEncoding("latin1");
  await once(socket, "connect");
  return socket;
}
