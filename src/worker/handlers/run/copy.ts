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
  const sizes = sizesOf(streams);
  const since = sizes === null ? null : new Date().toISOString();
  const weights = sizes ?? streams.map(() => 1);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let passed = 0;
  // What an earlier attempt said of itself holds no longer.
  report(context, done, 0, since);
  for (const [index, stream] of streams.entries()) {
    const weight = weights[index] ?? 0;
    const progressed = (soFar: StreamResult, bytesRead: number): void => {
      const share = (passed + weight * shareOf(stream, soFar, bytesRead)) / total;
      report(context, new Map(done).set(stream.name, soFar), share, since);
    };
    const result = await transferStream(
      { ...copy, source: plan.source.vertex.name, destination: plan.destination.vertex.name },
      stream,
      (level, message) => log.line(plan.source.vertex.name, level, message),
      progressed,
    );
    done.set(stream.name, result);
    passed += weight;
    report(context, done, passed / total, since);
    log.line(
      plan.destination.vertex.name,
      "info",
      `${stream.name}: ${result.rows} rows, ${result.bytes} bytes written aside`,
    );
  }
  return summarize(done);
}

/**
 * Progress by what the source said there is; 100 only when the operation has ended.
 * @param since when counting began; null: the share goes by the number of streams, which measures nothing
 */
function report(
  context: HandlerContext,
  soFar: ReadonlyMap<string, StreamResult>,
  share: number,
  since: string | null,
): void {
  const { rows, bytes, streams } = summarize(soFar);
  const counts = { rows, bytes, streams, ...(since === null ? {} : { measured: { since, share } }) };
  context.progress({ percent: Math.floor(99 * share), message: `${rows} rows copied`, ...counts });
}

/** How much each stream has, in a unit in which all of them say it; null where there is none, or nothing in them. */
function sizesOf(streams: readonly Stream[]): readonly number[] | null {
  for (const unit of ["bytes", "rows"] as const) {
    const sizes = streams.flatMap(({ estimate }) => estimate?.[unit] ?? []);
    if (sizes.length === streams.length && sizes.some((size) => size > 0)) return sizes;
  }
  return null;
}

/** How much of a stream is done, 0 to 1, as far as its size is known. */
function shareOf({ estimate }: Stream, { rows }: StreamResult, bytesRead: number): number {
  if (estimate?.bytes !== undefined && estimate.bytes > 0) return Math.min(1, bytesRead / estimate.bytes);
  if (estimate?.rows !== undefined && estimate.rows > 0) return Math.min(1, rows / estimate.rows);
  return 0;
}
