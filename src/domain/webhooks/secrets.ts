import { randomBytes } from "node:crypto";
import type { MasterKey } from "../../platform/crypto.js";
import { newId } from "../../platform/ids.js";

const KEY = "webhook-secrets" as const;
/** Standard Webhooks wants 24 to 64 bytes. */
const SECRET_BYTES = 32;
/** How Standard Webhooks marks secrets of HMAC signatures. */
const PREFIX = "whsec_";

/** A new key, in the form that receivers configure, and the columns of its row. */
export function newWebhookSecret(masterKey: MasterKey) {
  const id = newId();
  const key = randomBytes(SECRET_BYTES);
  return {
    secret: PREFIX + key.toString("base64"),
    row: { id, sealed: masterKey.encrypt(KEY, id, key), keyId: masterKey.id },
  };
}

/** A key as it is stored. */
export interface SealedSecret {
  readonly id: string;
  readonly sealed: Uint8Array;
}

export function openWebhookSecret(masterKey: MasterKey, { id, sealed }: SealedSecret): Buffer {
  return masterKey.decrypt(KEY, id, sealed);
}
