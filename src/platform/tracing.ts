export type SpanKind = "server" | "producer" | "consumer" | "internal";
export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** A part of the work that is being done for somebody: it has a beginning, an end and parts of its own. */
export interface Span {
  /** Names this span to other processes (https://www.w3.org/TR/trace-context/#traceparent-header). */
  readonly traceparent: string;
  readonly traceId: string;
  readonly spanId: string;
  set(attributes: Attributes): void;
  /** Says that it has failed; the message is shown to operators. */
  fail(message: string): void;
  child(name: string, kind: SpanKind, attributes?: Attributes): Span;
  end(): void;
}

/** Makes spans, and sends them to where they are collected. */
export interface Tracer {
  /** @param parent the `traceparent` of whoever asked for the work; null: the trace begins here */
  start(name: string, kind: SpanKind, parent: string | null, attributes?: Attributes): Span;
  /** Sends what has ended and was not sent; waits a few seconds at most. */
  close(): Promise<void>;
}

/** Version, trace, parent and flags; later versions may say more after them. */
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Whose work is continued, by a header as it came; null where it cannot be read, and so counts as absent. */
export function readTraceparent(header: string | readonly string[] | undefined): TraceParent | null {
  if (typeof header !== "string" || header.length > 255) return null;
  const [, version, traceId, spanId, flags, more] = TRACEPARENT.exec(header) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return null;
  if (version === "00" && more !== undefined) return null;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** A span of another process. */
export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  /** Whether whoever made it keeps the trace. */
  readonly sampled: boolean;
}

/** The header that names a span. */
export function writeTraceparent({ traceId, spanId, sampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}
