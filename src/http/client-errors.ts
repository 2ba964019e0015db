import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { AppError } from "../platform/errors.js";
import { newId } from "../platform/ids.js";
import { type Dialect, dialectOf } from "./dialect.js";

/** What Node.js tells of bytes that are no request. */
interface ClientError extends Error {
  readonly code?: string;
  /** The packet in which the fault lies, a Buffer; absent where none came in time. */
  readonly rawPacket?: unknown;
}

/** Status and advice by the code of Node.js and of its parser (llhttp). */
const FAULTS: Readonly<Record<string, readonly [status: number, message: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, "the request did not come to its end in time"],
  HPE_HEADER_OVERFLOW: [431, "the URL and the headers are larger than 16 KiB together"],
  HPE_INVALID_URL: [400, "the URL is malformed: percent-encode everything that is not ASCII (RFC 3986)"],
  HPE_INVALID_METHOD: [400, "the method is unknown"],
};
const NO_REQUEST = [400, "this is no valid HTTP request"] as const;

/** Far more than any path that is served. */
const LOOKED_AT = 2_048;

/**
 * Answers what never becomes a request, because the parser refuses it, in the shape of the dialect that owns the path
 * as far as one can be read, and ends the connection.
 */
export function clientErrorHandler(
  dialects: readonly Dialect[],
): (error: ClientError, socket: Socket) => void {
  return (error, socket) => {
    // After a reset there is nobody to answer (https://nodejs.org/api/http.html#event-clienterror).
    if (error.code === "ECONNRESET" || socket.destroyed) return;
    if (socket.writable) socket.write(answerTo(error, dialects));
    socket.destroy();
  };
}

function answerTo({ code, rawPacket }: ClientError, dialects: readonly Dialect[]): string {
  const [status, message] = FAULTS[code ?? ""] ?? NO_REQUEST;
  const path = pathIn(rawPacket);
  const dialect = dialectOf(dialects, path);
  const error = new AppError("invalid_request", message);
  const body = JSON.stringify(dialect.fail({ error, status, requestId: newId(), path }));
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `content-type: ${dialect.errorType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

/** The path of a request line, without its query (which may hold a key), what is not printable percent-encoded. */
function pathIn(packet: unknown): string {
  const start = Buffer.isBuffer(packet) ? packet.toString("latin1", 0, LOOKED_AT) : "";
  const path = /^[A-Z-]+ (\/[^ ?\r\n]*)/.exec(start)?.[1] ?? "/";
  return path.replace(
    /[^!-~]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`,
  );
}
