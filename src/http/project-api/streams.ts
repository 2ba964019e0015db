import type { DiscoveredStream } from "../../domain/connections/probe.js";
import type { StreamSelection } from "../../domain/jobs/graph.js";
import { type FieldError, invalid } from "../../platform/errors.js";

const JSON_TYPES: Readonly<Record<string, object>> = {
  string: { type: "string" },
  integer: { type: "integer" },
  decimal: { type: "number" },
  float: { type: "number" },
  boolean: { type: "boolean" },
  date: { type: "string", format: "date" },
  time: { type: "string", format: "time" },
  timestamp: { type: "string", format: "date-time" },
  timestamptz: { type: "string", format: "date-time" },
  json: {},
  binary: { type: "string", contentEncoding: "base64" },
};

/** What discovery found as a `streams_config`: sent back unchanged, it means every stream, full refresh. */
export function toStreamsConfig(streams: readonly DiscoveredStream[]) {
  return {
    streams: streams.map((stream) => ({
      name: stream.name,
      ...(stream.namespace === undefined ? {} : { namespace: stream.namespace }),
      json_schema: {
        type: "object",
        properties: Object.fromEntries(stream.columns.map((column) => [column.name, columnSchema(column)])),
      },
      primary_key: [...stream.primaryKey],
      cursor_fields: [...stream.cursorFields],
      sync_modes: [...stream.syncModes],
      sync_mode: "full_refresh",
      selected: true,
    })),
  };
}

function columnSchema({ type, nullable }: { type: string; nullable: boolean }): object {
  const schema = JSON_TYPES[type] ?? {};
  if (!nullable || !("type" in schema)) return schema;
  return { ...schema, type: [schema.type, "null"] };
}

/** The streams that a `streams_config` selects; null for one that names none: every stream there is. */
export function selectedStreams(config: Readonly<Record<string, unknown>>): StreamSelection[] | null {
  const listed = config["streams"];
  if (listed === undefined) {
    const unknown = Object.keys(config)[0];
    if (unknown === undefined) return null;
    throw invalid("streams_config has no streams", [
      {
        path: `/streams_config/${unknown}`,
        message: "is not a field of it; send back what source/streams answered",
      },
    ]);
  }
  if (!Array.isArray(listed))
    throw invalid("streams_config", [{ path: "/streams_config/streams", message: "must be an array" }]);
  const errors: FieldError[] = [];
  const selected = listed.flatMap((item: unknown, index) =>
    select(item, `/streams_config/streams/${index}`, errors),
  );
  refuseTwins(listed, errors);
  if (selected.length === 0 && errors.length === 0) {
    errors.push({ path: "/streams_config/streams", message: "selects no stream" });
  }
  if (errors.length > 0) throw invalid("streams_config is not valid", errors);
  return selected;
}

/** At the destination a stream has its name alone: two of one name, of different namespaces too, would be one there. */
function refuseTwins(listed: readonly unknown[], errors: FieldError[]): void {
  const seen = new Set<string>();
  for (const [index, item] of listed.entries()) {
    const { name, selected } = (item ?? {}) as Readonly<Record<string, unknown>>;
    if (selected === false || typeof name !== "string") continue;
    if (seen.has(name)) {
      const message = `"${name}" is selected twice; streams of one name need jobs of their own`;
      errors.push({ path: `/streams_config/streams/${index}/name`, message });
    }
    seen.add(name);
  }
}

function select(item: unknown, path: string, errors: FieldError[]): StreamSelection[] {
  if (typeof item !== "object" || item === null) {
    errors.push({ path, message: "must be an object" });
    return [];
  }
  const { name, namespace, sync_mode: mode, selected } = item as Readonly<Record<string, unknown>>;
  if (selected === false) return [];
  if (typeof name !== "string" || name === "") errors.push({ path: `${path}/name`, message: "is required" });
  if (namespace !== undefined && typeof namespace !== "string") {
    errors.push({ path: `${path}/namespace`, message: "must be a string" });
  }
  if (mode !== undefined && mode !== "full_refresh") {
    errors.push({ path: `${path}/sync_mode`, message: 'must be "full_refresh"' });
  }
  return [
    {
      name: String(name),
      ...(typeof namespace === "string" ? { namespace } : {}),
      syncMode: "full_refresh" as const,
    },
  ];
}
