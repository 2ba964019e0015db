import { Redis } from "ioredis";

/** Asks the graph `bench` of a connection URL. */
export function cypher(url: string, text: string): Promise<unknown> {
  return asClient(url, (client) => client.call("GRAPH.QUERY", "bench", text));
}

export async function asClient<T>(url: string, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    // It would wait for a second or more before it looks again whether a server has loaded its data.
    enableReadyCheck: false,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    client.disconnect();
  }
}
