import type { Config } from "../../../domain/connections/config.js";
import type { Connections } from "../../../domain/connections/connections.js";
import type { DestinationVertex, JobGraph, SourceVertex } from "../../../domain/jobs/graph.js";
import type { PrismaClient } from "../../../platform/prisma.js";
import { OperationFailure, problem } from "../../handler.js";

export interface RunPayload {
  readonly jobId: string;
  readonly runId: string;
}

export interface End<V> {
  readonly vertex: V;
  readonly type: string;
  readonly name: string;
  readonly config: Config;
}

/** Everything that a run needs to know before it touches a store. */
export interface RunPlan {
  readonly jobId: string;
  readonly runId: string;
  /** Number of the run within its job: the fence at the destination. */
  readonly number: number;
  readonly source: End<SourceVertex>;
  readonly destination: End<DestinationVertex>;
}

/** Reads the run, the graph of its job's version and the connections as they are now. */
export async function planRun(
  prisma: PrismaClient,
  connections: Connections,
  payload: RunPayload,
): Promise<RunPlan> {
  const run = await prisma.run.findUniqueOrThrow({ where: { id: payload.runId } });
  const key = { jobId: run.jobId, version: run.jobVersion };
  const version = await prisma.jobVersion.findUniqueOrThrow({ where: { jobId_version: key } });
  const { vertices } = version.graph as unknown as JobGraph;
  const source = vertices.find((vertex) => vertex.type === "source");
  const destination = vertices.find((vertex) => vertex.type === "destination");
  if (source === undefined || destination === undefined) {
    const detail = "the job's graph needs a source and a destination";
    throw new OperationFailure(problem("unsupported", "Graph cannot be run", 422, detail));
  }
  const [from, to] = await Promise.all([
    connections.reveal(source.sourceId),
    connections.reveal(destination.destinationId),
  ]);
  return {
    jobId: run.jobId,
    runId: run.id,
    number: run.number,
    source: { vertex: source, type: from.type, name: from.name, config: from.config },
    destination: { vertex: destination, type: to.type, name: to.name, config: to.config },
  };
}
