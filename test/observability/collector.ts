import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** A span as it was sent (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). */
export interface SentSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  /** Of the process that sent it. */
  readonly role: unknown;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly status?: { readonly code?: number; readonly message?: string };
}

/** An OTLP receiver on loopback, over http with JSON. */
export interface Collector {
  readonly url: string;
  readonly spans: readonly SentSpan[];
  /** Everything that was sent, as text. */
  readonly bodies: readonly string[];
  close(): Promise<void>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface Export {
  readonly resourceSpans: {
    readonly resource: { readonly attributes: Attribute[] };
    readonly scopeSpans: { readonly spans: (SentSpan & { readonly attributes: Attribute[] })[] }[];
  }[];
}

export async function openCollector(): Promise<Collector> {
  const spans: SentSpan[] = [];
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => {
      body += text;
    });
    request.on("end", () => {
      if (request.method !== "POST" || request.url !== "/v1/traces") {
        response.writeHead(404).end();
        return;
      }
      bodies.push(body);
      for (const { resource, scopeSpans } of (JSON.parse(body) as Export).resourceSpans) {
        const role = valuesOf(resource.attributes)["gatehouse.role"];
        for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
          spans.push({ ...span, role, attributes: valuesOf(span.attributes) });
        }
      }
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    ...{ spans, bodies, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function valuesOf(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
