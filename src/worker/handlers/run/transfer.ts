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
  onProgress: (soFar: StreamResult, bytesRead: number) => void,
): Promise<StreamResult> {
  const { reader, writer, source, destination } = ends;
  const fromSource: FromSource = { errors: new Set(), bytes: 0 };
  const encoding = negotiate(reader, writer);
  let data: StreamData;
  try {
    log("info", `reading ${stream.name}: ${stream.columns.length} columns, encoding ${encoding}`);
    data = watch(await reader.read(stream, encoding), fromSource);
  } catch (error) {
    throw at(source, error);
  }
  try {
    return await writer.write(stream, data, (soFar) => onProgress(soFar, fromSource.bytes));
  } catch (error) {
    throw at(fromSource.errors.has(error) ? source : destination, error);
  }
}

/** What came out of a source. */
interface FromSource {
  readonly errors: Set<unknown>;
  /** As the batches say it: other than what the destination writes, they count in the unit of the stream's estimate. */
  bytes: number;
}

/** The same data; what comes out of it is noted. */
function watch(data: StreamData, seen: FromSource): StreamData {
  if (data.encoding === "pgcopy") {
    data.bytes.once("error", (error) => seen.errors.add(error));
    return data;
  }
  return { encoding: "rows", batches: watched(data.batches, seen) };
}

async function* watched(batches: AsyncIterable<RowBatch>, seen: FromSource): AsyncGenerator<RowBatch> {
  try {
    for await (const batch of batches) {
      seen.bytes += batch.bytes;
      yield batch;
    }
  } catch (error) {
    seen.errors.add(error);
    throw error;
  }
}
