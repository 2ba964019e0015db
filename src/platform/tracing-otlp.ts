import * as otel from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { messageOf } from "./errors.js";
import type { Logger } from "./logger.js";
import {
  type Attributes,
  readTraceparent,
  type Span,
  type SpanKind,
  type Tracer,
  writeTraceparent,
} from "./tracing.js";

/** A process that stops does not wait longer for a collector that is away. */
const CLOSE_LIMIT_MS = 2_000;
/** A collector that is away is told of once in this time. */
const WARN_EVERY_MS = 60_000;

const KINDS: Readonly<Record<SpanKind, otel.SpanKind>> = {
  server: otel.SpanKind.SERVER,
  producer: otel.SpanKind.PRODUCER,
  consumer: otel.SpanKind.CONSUMER,
  internal: otel.SpanKind.INTERNAL,
};

/**
 * Sends spans to an OTLP collector over http, in batches and out of anybody's way; what does not fit into the
 * library's buffer is dropped. Nothing of it is global: parents are passed on by hand.
 */
export class OtlpTracer implements Tracer {
  readonly #provider: BasicTracerProvider;
  readonly #tracer: otel.Tracer;

  constructor(
    endpoint: string,
    { role, version }: { readonly role: string; readonly version: string },
    logger: Logger,
  ) {
    const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, "")}/v1/traces` });
    this.#provider = new BasicTracerProvider({
      resource: resourceFromAttributes({
        "service.name": "gatehouse",
        "service.version": version,
        "service.instance.id": `${role}:${process.pid}`,
        "gatehouse.role": role,
      }),
      spanProcessors: [new BatchSpanProcessor(complaining(exporter, logger))],
    });
    this.#tracer = this.#provider.getTracer("gatehouse", version);
  }

  start(name: string, kind: SpanKind, parent: string | null, attributes: Attributes = {}): Span {
    return this.#start(name, kind, remote(parent), attributes);
  }

  #start(name: string, kind: SpanKind, context: otel.Context, attributes: Attributes): Span {
    const span = this.#tracer.startSpan(name, { kind: KINDS[kind], attributes: { ...attributes } }, context);
    const { traceId, spanId, traceFlags } = span.spanContext();
    const inside = otel.trace.setSpan(otel.ROOT_CONTEXT, span);
    return {
      ...{ traceId, spanId },
      traceparent: writeTraceparent({
        traceId,
        spanId,
        sampled: (traceFlags & otel.TraceFlags.SAMPLED) !== 0,
      }),
      set: (more) => void span.setAttributes({ ...more }),
      fail: (message) => void span.setStatus({ code: otel.SpanStatusCode.ERROR, message }),
      child: (childName, childKind, more = {}) => this.#start(childName, childKind, inside, more),
      end: () => span.end(),
    };
  }

  async close(): Promise<void> {
    const limit = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_LIMIT_MS).unref());
    await Promise.race([this.#provider.shutdown().catch(() => {}), limit]);
  }
}

/** The context of a span of another process. */
function remote(parent: string | null): otel.Context {
  const found = readTraceparent(parent ?? undefined);
  if (found === null) return otel.ROOT_CONTEXT;
  const { traceId, spanId, sampled } = found;
  const traceFlags = sampled ? otel.TraceFlags.SAMPLED : otel.TraceFlags.NONE;
  return otel.trace.setSpanContext(otel.ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

/** The library keeps the collector's faults to itself: the operator wants to hear of them, now and then. */
function complaining(exporter: OTLPTraceExporter, logger: Logger): OTLPTraceExporter {
  let quietUntil = 0;
  const send = exporter.export.bind(exporter);
  exporter.export = (spans, done) =>
    send(spans, (result) => {
      const now = performance.now();
      if (result.error !== undefined && now >= quietUntil) {
        quietUntil = now + WARN_EVERY_MS;
        logger.warn({ reason: messageOf(result.error) }, "spans could not be sent to the OTLP endpoint");
      }
      done(result);
    });
  return exporter;
}
