import { FalkorDB } from "falkordb";

export const NODES = 300;

/** Nodes of one word, and edges between them. */
export async function fillGraph(url: string, word: "old" | "new"): Promise<void> {
  await cypher(url, `UNWIND range(1, ${NODES}) AS i CREATE (:Kept {word: '${word}'})-[:TO]->(:End)`);
}

/** How many nodes and edges hold which word. */
export async function graphOf(url: string): Promise<unknown> {
  return cypher(url, "MATCH (k:Kept)-[t:TO]->(:End) RETURN k.word AS word, count(t) AS n");
}

async function cypher(url: string, query: string): Promise<unknown> {
  const client = await FalkorDB.connect({ url });
  client.on("error", () => {});
  try {
    return (await client.selectGraph("kept").query(query)).data;
  } finally {
    await client.close().catch(() => {});
  }
}
