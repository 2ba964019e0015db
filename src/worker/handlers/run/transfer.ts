import type {
  ConnectorContext,
  DestinationWriter,
  Encoding,
  RowBatch,
  SourceReader,
  Stream,
  StreamData,
  StreamResult,
} from "../../../connectors/connector.js";
import { toFailure } from "../../connectors.js";

/** A store's failure, with the vertex at which it happened. */
export function at(vertex: string, error: unknown): unknown {
  return toFailure(error, { vertex });
}

/** The best encoding that both ends speak; `rows` is spoken by all. */
export function negotiate(reader: SourceReader, writer: DestinationWriter): Encoding {
  return reader.encodings.find((encoding) => writer.encodings.includes(encoding)) ?? "rows";
}

/**
 * Moves one stream from the reader to the writer. A failure that comes out of the reader is the source's, any
 * other the destination's, whichever end's call it surfaces in.
 */
export async function transferStream(
  ends: { reader: SourceReader; writer: DestinationWriter; source: string; destination: string },
  stream: Stream,
  log: ConnectorContext["log"],
  onProgress: (soFar: StreamResult) => void,
): Promise<StreamResult> {
  const { reader, writer, source, destination } = ends;
  const fromSource = new Set<unknown>();
  const encoding = negotiate(reader, writer);
  let data: StreamData;
  try {
    log("info", `reading ${stream.name}: ${stream.columns.length} columns, encoding ${encoding}`);
    data = watch(await reader.read(stream, encoding), fromSource);
  } catch (error) {
    throw at(source, error);
  }
  try {
    return await writer.write(stream, data, onProgress);
  } catch (error) {
    throw at(fromSource.has(error) ? source : destination, error);
  }
}

/** The same data; errors that come out of it are noted. */
function watch(data: StreamData, errors: Set<unknown>): StreamData {
  if (data.encoding === "pgcopy") {
    data.bytes.once("error", (error) => errors.add(error));
    return data;
  }
  return { encoding: "rows", batches: watched(data.batches, errors) };
}

async function* watched(batches: AsyncIterable<RowBatch>, errors: Set<unknown>): AsyncGenerator<RowBatch> {
  try {
    yield* batches;
  } catch (error) {
    errors.add(error);
    throw error;
  }
}
