import type { Logger } from "../platform/logger.js";
import type { Sql } from "../platform/sql.js";
import { type ClientRecord, readClients, toClientRecord } from "./clients.js";
import { createRecordCache, type RecordCache } from "./record-cache.js";

/** What the database says of the clients in use, by client_id. */
export type AccessRecords = RecordCache<ClientRecord>;

export interface AccessRecordDeps {
  readonly sql: Sql;
  readonly logger: Logger;
}

export { MAX_AGE_MS } from "./record-cache.js";

/** Records that are read from the database and refreshed until `close`. */
export function createAccessRecords({ sql, logger }: AccessRecordDeps): AccessRecords {
  return createRecordCache({
    logger,
    read: (clientIds) => readClients(sql, clientIds),
    idOf: (row) => row.client_id,
    toRecord: toClientRecord,
  });
}
