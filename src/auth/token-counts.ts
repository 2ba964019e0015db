import type { Logger } from "../platform/logger.js";
import type { Sql, Statement } from "../platform/sql.js";

const FLUSH_EVERY_MS = 500;

/** Adds up tokens per client and hour, and says when the client was last used. */
const ADD: Statement = {
  name: "token_counts_add",
  text: `WITH issued AS (
           SELECT c.id, t.issued FROM unnest($1::text[], $2::int[]) AS t(client_id, issued)
           JOIN api_clients c ON c.client_id = t.client_id),
         used AS (
           UPDATE api_clients SET last_used_at = now() FROM issued WHERE api_clients.id = issued.id)
         INSERT INTO token_counts (client_id, hour, count)
         SELECT id, date_trunc('hour', now()), issued FROM issued ORDER BY id
         ON CONFLICT (client_id, hour) DO UPDATE SET count = token_counts.count + excluded.count`,
};

/** Counts issued tokens per client; written in batches, so that at most half a second of counts may be lost. */
export class TokenCounts {
  readonly #sql: Sql;
  readonly #logger: Logger;
  readonly #timer: NodeJS.Timeout;
  #waiting = new Map<string, number>();

  constructor(sql: Sql, logger: Logger) {
    this.#sql = sql;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS).unref();
  }

  issued(clientId: string): void {
    this.#waiting.set(clientId, (this.#waiting.get(clientId) ?? 0) + 1);
  }

  /** Writes what was counted. Never rejects. */
  async flush(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const counts = this.#waiting;
    this.#waiting = new Map();
    try {
      await this.#sql.run(ADD, [[...counts.keys()], [...counts.values()]]);
    } catch (error) {
      this.#logger.debug({ err: error }, "token counts could not be written; they wait");
      for (const [clientId, count] of counts) {
        this.#waiting.set(clientId, (this.#waiting.get(clientId) ?? 0) + count);
      }
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}
