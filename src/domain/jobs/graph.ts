import { type FieldError, invalid } from "../../platform/errors.js";

/** Which stream of a source is read, and how. */
export interface StreamSelection {
  readonly name: string;
  readonly namespace?: string;
  readonly syncMode: "full_refresh";
}

export interface SourceVertex {
  readonly name: string;
  readonly type: "source";
  readonly sourceId: string;
  /** Null: every stream that the source has when the run starts. */
  readonly streams: readonly StreamSelection[] | null;
}

export interface DestinationVertex {
  readonly name: string;
  readonly type: "destination";
  readonly destinationId: string;
}

export type Vertex = SourceVertex | DestinationVertex;

export interface Edge {
  readonly from: string;
  readonly to: string;
}

/** What a job does: data flows along the edges. */
export interface JobGraph {
  readonly vertices: readonly Vertex[];
  readonly edges: readonly Edge[];
}

/** The graph of the project API's jobs: one source, one destination. */
export function pipeline(
  sourceId: string,
  destinationId: string,
  streams: readonly StreamSelection[] | null,
): JobGraph {
  return {
    vertices: [
      { name: "source", type: "source", sourceId, streams },
      { name: "destination", type: "destination", destinationId },
    ],
    edges: [{ from: "source", to: "destination" }],
  };
}

/** Names of the vertices that each vertex waits for. */
export function dependencies(graph: JobGraph): ReadonlyMap<string, readonly string[]> {
  return new Map(
    graph.vertices.map(({ name }) => [
      name,
      graph.edges.filter((edge) => edge.to === name).map((edge) => edge.from),
    ]),
  );
}

/** Throws an invalid request that names the vertex or edge where a graph is no dataflow graph. */
export function checkGraph(graph: JobGraph): void {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  graph.vertices.forEach((vertex, index) => {
    if (names.has(vertex.name)) {
      errors.push({ path: `/jobGraph/vertices/${index}/name`, message: `"${vertex.name}" is used twice` });
    }
    names.add(vertex.name);
  });
  graph.edges.forEach((edge, index) => {
    for (const end of ["from", "to"] as const) {
      if (!names.has(edge[end])) {
        errors.push({
          path: `/jobGraph/edges/${index}/${end}`,
          message: `no vertex is named "${edge[end]}"`,
        });
      }
    }
  });
  const inCycle = errors.length === 0 ? findCycle(graph) : null;
  if (inCycle !== null) errors.push({ path: "/jobGraph/edges", message: `"${inCycle}" is part of a cycle` });
  if (errors.length > 0) throw invalid("the job graph is not valid", errors);
}

/** A vertex on a cycle, or null: vertices whose inputs are all done are taken away until none is left. */
function findCycle(graph: JobGraph): string | null {
  const left = new Map([...dependencies(graph)].map(([name, inputs]) => [name, new Set(inputs)]));
  for (;;) {
    const ready = [...left].filter(([, inputs]) => inputs.size === 0).map(([name]) => name);
    if (ready.length === 0) return left.keys().next().value ?? null;
    for (const name of ready) left.delete(name);
    for (const inputs of left.values()) for (const name of ready) inputs.delete(name);
  }
}
