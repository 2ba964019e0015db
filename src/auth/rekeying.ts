import type { MasterKey } from "../platform/crypto.js";
import type { Logger } from "../platform/logger.js";
import type { Sql, Statement } from "../platform/sql.js";
import type { SecretMatch } from "./clients.js";

const CLIENT_SECRET: Statement = {
  name: "rekey_client_secret",
  text: "UPDATE api_client_secrets SET hash = $1, key_id = $2 WHERE hash = $3 AND key_id = $4",
};
const API_KEY: Statement = {
  name: "rekey_api_key",
  text: "UPDATE api_keys SET hash = $1, key_id = $2 WHERE hash = $3 AND key_id <> $2",
};

/**
 * Moves hashes under the present master key. A hash cannot be made under another key without its secret, so that
 * is done when the secret is used; it says nothing new, so nothing that was issued under it ends.
 */
export class Rekeying {
  readonly #sql: Sql;
  readonly #masterKey: MasterKey;
  readonly #logger: Logger;

  constructor(sql: Sql, masterKey: MasterKey, logger: Logger) {
    this.#sql = sql;
    this.#masterKey = masterKey;
    this.#logger = logger;
  }

  /** A client has authenticated with a secret. Nobody waits for this, and it never fails. */
  secretUsed({ stored, secret }: SecretMatch): void {
    if (stored.keyId === this.#masterKey.id) return;
    const hash = this.#masterKey.hash("client-secrets", secret);
    this.#write(CLIENT_SECRET, [hash, this.#masterKey.id, stored.hash, stored.keyId]);
  }

  /** An API key was found by the hash that another master key gives it. */
  apiKeyUsed(key: string, formerHash: Uint8Array): void {
    this.#write(API_KEY, [this.#masterKey.hash("api-keys", key), this.#masterKey.id, formerHash]);
  }

  #write(statement: Statement, values: readonly unknown[]): void {
    this.#sql.run(statement, values).catch((error: unknown) => {
      this.#logger.debug({ err: error }, "a hash could not be moved under the present master key");
    });
  }
}
