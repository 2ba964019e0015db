import { Redis } from "ioredis";

export const NODES = 300;

/** Nodes of one word, and edges between them. */
export async function fillGraph(url: string, word: "old" | "new"): Promise<void> {
  await cypher(url, `UNWIND range(1, ${NODES}) AS i CREATE (:Kept {word: '${word}'})-[:TO]->(:End)`);
}

/** How many nodes and edges hold which word. */
export async function graphOf(url: string): Promise<unknown> {
  return cypher(url, "MATCH (k:Kept)-[t:TO]->(:End) RETURN k.word AS word, count(t) AS n");
}

/** Not through the official client: where its connection breaks while it is being made, that ends the process. */
async function cypher(url: string, query: string): Promise<unknown> {
  const { hostname: host, port, username, password } = new URL(url);
  const client = new Redis({
    ...{ host, port: Number(port), username, password: decodeURIComponent(password) },
    ...{ lazyConnect: true, retryStrategy: () => null },
  });
  client.on("error", () => {});
  try {
    await client.connect();
    const [names, rows] = (await client.call("GRAPH.QUERY", "kept", query)) as [string[], unknown[][]];
    return rows?.map((row) => Object.fromEntries(row.map((value, at) => [names[at], value]))) ?? [];
  } finally {
    client.disconnect();
  }
}
