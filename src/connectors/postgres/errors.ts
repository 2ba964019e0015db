import pg from "pg";
import { ConnectorError, FencedError } from "../connector.js";
import type { Server } from "./config.js";

/** Where something failed, for the message. */
export interface Place {
  readonly server: Server;
  readonly stream?: string;
}

/** The server speaks no TLS, which `prefer` accepts and the other modes report. */
export const NO_TLS = "The server does not support SSL connections";

type Code = ConnectorError["code"];
type Details = Record<string, string | number>;

/** The SQLSTATE of a PostgreSQL error, else "". https://www.postgresql.org/docs/current/errcodes-appendix.html */
export function sqlState(error: unknown): string {
  return error instanceof pg.DatabaseError ? (error.code ?? "") : "";
}

/** Whether the connection is gone, so that what became of the last statement is not known. */
export function isDisconnect(error: unknown): boolean {
  if (error instanceof ConnectorError || error instanceof FencedError) return false;
  return !(error instanceof pg.DatabaseError) || CODES[sqlState(error)] === "unreachable";
}

/**
 * What the user is told about anything thrown while talking to PostgreSQL. What is already meant for the user
 * passes; after an abort the reason of the abort is what counts, whatever broke because of it.
 */
export function explain(error: unknown, place: Place, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof ConnectorError || error instanceof FencedError) return error;
  if (error instanceof pg.DatabaseError) return explainDatabase(error, place);
  return explainNetwork(error, place);
}

function address(server: Server): string {
  return `${server.host}:${server.port}`;
}

/** By SQLSTATE, then by its class. */
const CODES: Readonly<Record<string, Code>> = {
  "28": "unauthorized",
  "22": "invalid_data",
  "23": "invalid_data",
  "25P03": "unreachable",
  "57P01": "unreachable",
  "57P02": "unreachable",
  "57P03": "unreachable",
  "53300": "unreachable",
  "3D000": "not_found",
  "3F000": "not_found",
  "42P01": "not_found",
  "42501": "unauthorized",
  "25006": "unsupported",
};

function explainDatabase(error: pg.DatabaseError, place: Place): ConnectorError {
  const state = error.code ?? "";
  const code = CODES[state] ?? CODES[state.slice(0, 2)] ?? "failed";
  const details: Details = { sqlState: state };
  if (place.stream !== undefined) details["stream"] = place.stream;
  if (code === "invalid_data") return invalidData(error, place, details);
  return new ConnectorError(code, databaseMessage(error, place), { details, cause: error });
}

function databaseMessage(error: pg.DatabaseError, { server, stream }: Place): string {
  const at = address(server);
  switch (error.code) {
    case "28P01":
      return `${at} refused the password of the user ${server.username}`;
    case "28000":
      return `${at} does not let the user ${server.username} in: ${error.message}`;
    case "3D000":
      return `the database ${server.database} does not exist on ${at}`;
    case "53300":
      return `${at} accepts no more connections: ${error.message}`;
    case "25006":
      return `${at} is read only (a standby, or read only by its settings) and cannot be written to`;
    case "55P03":
      return `${subject(stream)}waited too long for a lock that another session of the database ${server.database} holds; try again when it is done`;
    case "42501":
      return `the user ${server.username} may not do this in the database ${server.database}: ${error.message}`;
    default:
      return `${subject(stream)}${error.message}${error.detail === undefined ? "" : ` (${error.detail})`}`;
  }
}

function subject(stream: string | undefined): string {
  return stream === undefined ? "" : `stream "${stream}": `;
}

/** The start of `COPY customers, line 5, column zip: "x"`; the value is left out, it may be anything. */
const COPY_CONTEXT = /^COPY .*?, line (\d+)(?:, column (.+?): (?:"|null input))?/s;

/** Names stream, row and column as far as PostgreSQL says. Rows count from 1, in the order they were read. */
function invalidData(error: pg.DatabaseError, { stream }: Place, details: Details): ConnectorError {
  const context = COPY_CONTEXT.exec(error.where ?? "");
  const row = context?.[1] === undefined ? undefined : Number(context[1]);
  const column = error.column ?? context?.[2];
  if (row !== undefined) details["row"] = row;
  if (column !== undefined) details["column"] = column;
  const where = [
    stream === undefined ? [] : [`stream "${stream}"`],
    row === undefined ? [] : [`row ${row}`],
    column === undefined ? [] : [`column "${column}"`],
  ].flat();
  const why = `${error.message}${error.code === "23505" && error.detail !== undefined ? ` (${error.detail})` : ""}`;
  return new ConnectorError("invalid_data", `${where.join(", ")}${where.length > 0 ? ": " : ""}${why}`, {
    details,
    cause: error,
  });
}

const NETWORK: Readonly<Record<string, string>> = {
  ECONNREFUSED: "refused the connection: nothing listens there",
  ECONNRESET: "closed the connection",
  EPIPE: "closed the connection",
  EHOSTUNREACH: "cannot be reached: there is no route to the host",
  ENETUNREACH: "cannot be reached: there is no route to the network",
  ETIMEDOUT: "did not answer in time",
  ERR_TLS_CERT_ALTNAME_INVALID: "presented a certificate for another host",
  DEPTH_ZERO_SELF_SIGNED_CERT: "presented a self-signed certificate that is not the given authority's",
  SELF_SIGNED_CERT_IN_CHAIN: "presented a certificate of an authority that is not trusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "presented a certificate of an authority that is not trusted",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "presented a certificate of an authority that is not trusted",
  CERT_HAS_EXPIRED: "presented a certificate that has expired",
};

function explainNetwork(error: unknown, { server, stream }: Place): unknown {
  if (!(error instanceof Error)) return error;
  const message = error.message;
  const code = "code" in error ? String(error.code) : "";
  const at = `${subject(stream)}${address(server)}`;
  const options = { details: { host: server.host, port: server.port }, cause: error };
  if (NETWORK[code] !== undefined)
    return new ConnectorError("unreachable", `${at} ${NETWORK[code]}`, options);
  if (message === NO_TLS) {
    return new ConnectorError(
      "unsupported",
      `${at} offers no TLS, which ssl.mode ${server.sslMode} asks for`,
      options,
    );
  }
  if (/client password must be a/.test(message)) {
    return new ConnectorError("unauthorized", `${at} asks for a password and none is configured`, options);
  }
  if (/Connection terminated|not queryable|SSL connection/.test(message)) {
    return new ConnectorError("unreachable", `${at} closed the connection`, options);
  }
  if (/SASL|SCRAM/.test(message)) return new ConnectorError("unauthorized", `${at}: ${message}`, options);
  return error;
}
