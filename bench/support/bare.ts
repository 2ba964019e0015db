/** As many as a Gatehouse has for its ledger and its queue: with more than one, commits share a write to the disk. */
const CONNECTIONS = 15;

/** Where a bare BullMQ keeps its jobs on PostgreSQL. */
export function bareConnection(connectionString: string) {
  return { connectionString, schema: "bullmq", max: CONNECTIONS };
}
