import { Counter } from "prom-client";
import type { Metrics } from "../platform/metrics.js";
import { TOKEN_GRANT_TYPES } from "./grant-types.js";

/** What somebody came with and was refused. */
export type RefusedCredential = "token" | "key" | "session" | "client";

/** Counts who got in and who did not. */
export interface AccessCounts {
  /** @param grantType as the client asked for it */
  tokenIssued(grantType: string | undefined): void;
  /** @param status of the answer */
  tokenRefused(status: number): void;
  credentialRefused(kind: RefusedCredential): void;
}

const GRANT_TYPES: ReadonlySet<string | undefined> = new Set(TOKEN_GRANT_TYPES);

export function countAccess(metrics: Metrics): AccessCounts {
  const registers = [metrics];
  const issued = new Counter({
    name: "gatehouse_tokens_issued_total",
    help: "Access tokens that this process has issued, by grant type.",
    labelNames: ["grant_type"],
    registers,
  });
  const refused = new Counter({
    name: "gatehouse_tokens_refused_total",
    help: "Token requests that this process has refused, by the status of the answer.",
    labelNames: ["status"],
    registers,
  });
  const credentials = new Counter({
    name: "gatehouse_credentials_refused_total",
    help: "Tokens, API keys, sessions and clients' credentials that this process has refused, by kind.",
    labelNames: ["kind"],
    registers,
  });
  return {
    // What clients send becomes no label unless it is known.
    tokenIssued: (grantType) =>
      issued.inc({ grant_type: GRANT_TYPES.has(grantType) ? String(grantType) : "other" }),
    tokenRefused: (status) => refused.inc({ status }),
    credentialRefused: (kind) => credentials.inc({ kind }),
  };
}
