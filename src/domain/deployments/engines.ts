/** A kind of database server, as far as it is known without running one. */
export interface EngineKind {
  readonly name: string;
  /** What it speaks. */
  readonly description: string;
  /** How a client reaches it. */
  connectionUrl(host: string, port: number, username: string, password: string): string;
  /** How its archives are called. */
  readonly archiveExtension: string;
}

const KINDS: readonly EngineKind[] = [
  {
    name: "graphneo",
    description: "a graph database that speaks openCypher over the Redis protocol",
    connectionUrl: (host, port, username, password) => `redis://${username}:${password}@${host}:${port}`,
    archiveExtension: "rdb",
  },
  {
    name: "postgres",
    description: "PostgreSQL",
    connectionUrl: (host, port, username, password) =>
      `postgresql://${username}:${password}@${host}:${port}/${username}`,
    archiveExtension: "dump",
  },
];

/** Names of all engines, whether or not they can be run here. */
export const ENGINE_NAMES: readonly string[] = KINDS.map(({ name }) => name);

/** The engine of a name; null where there is none. */
export function engineOf(name: string): EngineKind | null {
  return KINDS.find((kind) => kind.name === name) ?? null;
}
