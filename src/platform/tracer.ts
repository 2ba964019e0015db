import type { Logger } from "./logger.js";
import type { Tracer } from "./tracing.js";

export interface TracingOptions {
  /** Of an OTLP collector over http, without `/v1/traces`; null: nothing is traced. */
  readonly endpoint: string | null;
  readonly role: string;
  readonly version: string;
}

/** A tracer, where there is somewhere to send spans to. Without, none of its code is loaded. */
export async function openTracer(options: TracingOptions, logger: Logger): Promise<Tracer | null> {
  const { endpoint, ...resource } = options;
  if (endpoint === null) return null;
  const { OtlpTracer } = await import("./tracing-otlp.js");
  return new OtlpTracer(endpoint, resource, logger);
}
