import { createHmac } from "node:crypto";

export interface Signed {
  /** The event's id: the same with every try. */
  readonly id: string;
  /** Seconds since 1970, of this try. */
  readonly timestamp: number;
  /** Exactly what is sent. */
  readonly body: string;
}

/**
 * The headers of Standard Webhooks (https://www.standardwebhooks.com, version 1.0.0): one HMAC-SHA-256 signature per
 * key, so that receivers can change keys while messages go on.
 */
export function signedHeaders(keys: readonly Uint8Array[], { id, timestamp, body }: Signed) {
  const content = `${id}.${timestamp}.${body}`;
  const signatures = keys.map((key) => `v1,${createHmac("sha256", key).update(content).digest("base64")}`);
  return {
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": signatures.join(" "),
  };
}
