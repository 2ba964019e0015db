import type { Logger } from "../platform/logger.js";
import type { Sql, Statement } from "../platform/sql.js";

const FLUSH_EVERY_MS = 5_000;

/** Remembers which credentials are used, and writes down when: a busy one costs a write in seconds, not per request. */
export class Uses {
  readonly #sql: Sql;
  readonly #logger: Logger;
  readonly #statement: Statement;
  readonly #timer: NodeJS.Timeout;
  #used = new Set<string>();

  /** @param statement takes the ids, and sets when they were last used */
  constructor(sql: Sql, logger: Logger, statement: Statement) {
    this.#sql = sql;
    this.#logger = logger;
    this.#statement = statement;
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS).unref();
  }

  used(id: string): void {
    this.#used.add(id);
  }

  /** Writes what was used since. Never rejects: who goes on using something is written down the next time. */
  async flush(): Promise<void> {
    if (this.#used.size === 0) return;
    const ids = [...this.#used];
    this.#used = new Set();
    await this.#sql.run(this.#statement, [ids]).catch((error: unknown) => {
      this.#logger.debug({ err: error }, "the use of credentials could not be written down");
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}

/** Secrets of clients, as they authenticate. */
export function secretUses(sql: Sql, logger: Logger): Uses {
  return new Uses(sql, logger, {
    name: "auth_client_secrets_used",
    text: "UPDATE api_client_secrets SET last_used_at = now() WHERE id = ANY ($1::uuid[])",
  });
}

export function apiKeyUses(sql: Sql, logger: Logger): Uses {
  return new Uses(sql, logger, {
    name: "auth_api_keys_used",
    text: "UPDATE api_keys SET last_used_at = now() WHERE id = ANY ($1::uuid[])",
  });
}
