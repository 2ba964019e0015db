import type {
  ConnectorContext,
  DestinationWriter,
  SourceReader,
  Stream,
  StreamResult,
} from "../../../connectors/connector.js";
import { type Connectors, sourceOf } from "../../connectors.js";
import type { HandlerContext } from "../../handler.js";
import type { StepLog } from "../../step-log.js";
import type { RunPlan } from "./plan.js";
import { at, transferStream } from "./transfer.js";

/** What a sync tells when it is done. */
export interface SyncResult {
  readonly rows: number;
  readonly bytes: number;
  readonly streams: Readonly<Record<string, StreamResult>>;
}

export function summarize(streams: ReadonlyMap<string, StreamResult>): SyncResult {
  let rows = 0;
  let bytes = 0;
  for (const result of streams.values()) {
    rows += result.rows;
    bytes += result.bytes;
  }
  return { rows, bytes, streams: Object.fromEntries(streams) };
}

export function connectorContext(context: HandlerContext, log: StepLog, vertex: string): ConnectorContext {
  return { signal: context.signal, log: (level, message) => log.line(vertex, level, message) };
}

/** Turns a store's failure into the operation's, naming the vertex. */
export function rethrowAt(vertex: string): (error: unknown) => never {
  return (error) => {
    throw at(vertex, error);
  };
}

/**
 * Reads every selected stream and writes it aside, one after the other.
 * @param opened called when the source is open
 */
export async function copyStreams(
  connectors: Connectors,
  context: HandlerContext,
  plan: RunPlan,
  writer: DestinationWriter,
  log: StepLog,
  opened: () => void,
): Promise<SyncResult> {
  const { vertex, type, config, name } = plan.source;
  const sourceContext = connectorContext(context, log, vertex.name);
  const source = sourceOf(connectors, type);
  const reader = await source.open(config, sourceContext).catch(rethrowAt(vertex.name));
  opened();
  try {
    log.line(vertex.name, "info", `reading from "${name}"`);
    const chosen =
      vertex.streams ?? (await source.discover(config, sourceContext).catch(rethrowAt(vertex.name)));
    const streams: Stream[] = [];
    for (const selected of chosen) {
      streams.push(await reader.describe(selected.name, selected.namespace).catch(rethrowAt(vertex.name)));
    }
    return await copyAll({ reader, writer, plan, context, log }, streams);
  } finally {
    await reader.close();
  }
}

interface Copy {
  readonly reader: SourceReader;
  readonly writer: DestinationWriter;
  readonly plan: RunPlan;
  readonly context: HandlerContext;
  readonly log: StepLog;
}

async function copyAll(copy: Copy, streams: readonly Stream[]): Promise<SyncResult> {
  const { plan, context, log } = copy;
  const done = new Map<string, StreamResult>();
  for (const stream of streams) {
    const progressed = (soFar: StreamResult, bytesRead: number): void => {
      const shares = done.size + share(stream, soFar, bytesRead);
      report(context, new Map(done).set(stream.name, soFar), shares / streams.length);
    };
    const result = await transferStream(
      { ...copy, source: plan.source.vertex.name, destination: plan.destination.vertex.name },
      stream,
      (level, message) => log.line(plan.source.vertex.name, level, message),
      progressed,
    );
    done.set(stream.name, result);
    report(context, done, done.size / streams.length);
    log.line(
      plan.destination.vertex.name,
      "info",
      `${stream.name}: ${result.rows} rows, ${result.bytes} bytes written aside`,
    );
  }
  return summarize(done);
}

/** Progress by what the source said there is; 100 only when the operation has ended. */
function report(context: HandlerContext, soFar: ReadonlyMap<string, StreamResult>, share: number): void {
  const { rows, bytes, streams } = summarize(soFar);
  context.progress({ percent: Math.floor(99 * share), message: `${rows} rows copied`, rows, bytes, streams });
}

/** How much of a stream is done, 0 to 1, as far as its size is known. */
function share({ estimate }: Stream, { rows }: StreamResult, bytesRead: number): number {
  if (estimate?.bytes !== undefined && estimate.bytes > 0) return Math.min(1, bytesRead / estimate.bytes);
  if (estimate?.rows !== undefined && estimate.rows > 0) return Math.min(1, rows / estimate.rows);
  return 0;
}
