/** Longest record (a CSV record or a JSONL line), in characters: what one row may cost in memory. */
export const MAX_RECORD = 16 * 1024 * 1024;

/** Most columns of a stream; PostgreSQL's own limit for a table. */
export const MAX_COLUMNS = 1_600;

/** Most files that one folder or glob may give. */
export const MAX_FILES = 1_000;

/** Rows and characters after which a batch is handed on, whichever comes first. */
export const BATCH_ROWS = 1_000;
export const BATCH_SIZE = 1024 * 1024;

/** Bytes read or written at once. */
export const CHUNK = 128 * 1024;
