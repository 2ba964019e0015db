import pg from "pg";

/** What a statement answers, in the database of a connection URL. */
export async function query<R extends object>(connectionUrl: string, sql: string): Promise<R[]> {
  const client = new pg.Client(connectionUrl);
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<R>(sql)).rows;
  } finally {
    await client.end();
  }
}
