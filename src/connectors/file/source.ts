import {
  type Column,
  type ConnectorConfig,
  type ConnectorContext,
  ConnectorError,
  type Encoding,
  type RowBatch,
  type SourceConnector,
  type SourceReader,
  type Stream,
  type StreamData,
} from "../connector.js";
import {
  changedError,
  type Fingerprint,
  fingerprintOf,
  type Meter,
  type OpenFile,
  readText,
  sameFile,
} from "./content.js";
import { csvReader } from "./csv-reader.js";
import { configError, storeError } from "./errors.js";
import { openFolder } from "./folder.js";
import type { Layout } from "./infer.js";
import { jsonlReader } from "./jsonl-reader.js";
import { extensionOf, isGzip, type ListedFile, listFiles } from "./listing.js";
import { type Place, placeOf, type Roots } from "./paths.js";
import { type FormatReader, inBatches, type ReadOptions } from "./reader.js";
import { type SourceSettings, sourceSettings, sourceSpec } from "./settings.js";

/** Records that a connection test reads of each file, and files that it reads. */
const CHECK_RECORDS = 100;
const CHECK_FILES = 10;

/** The file connector as a source. */
export function fileSource(roots: Roots): SourceConnector {
  return {
    spec: sourceSpec,
    check: async (config, context) => {
      const source = await FileSource.open(roots, config, context);
      await source.check();
    },
    discover: async (config, context) => {
      const source = await FileSource.open(roots, config, context);
      return await source.discover();
    },
    open: (config, context) => FileSource.open(roots, config, context),
  };
}

/** A stream as it was described, and the state of the file that this holds for. */
interface Described {
  readonly file: ListedFile;
  readonly layout: Layout;
  readonly fingerprint: Fingerprint;
}

class FileSource implements SourceReader {
  readonly encodings: readonly Encoding[] = ["rows"];
  readonly #place: Place;
  readonly #settings: SourceSettings;
  readonly #context: ConnectorContext;
  readonly #files: ReadonlyMap<string, ListedFile>;
  readonly #described = new Map<string, Described>();
  readonly #open = new Set<OpenFile>();

  private constructor(
    place: Place,
    settings: SourceSettings,
    context: ConnectorContext,
    files: readonly ListedFile[],
  ) {
    this.#place = place;
    this.#settings = settings;
    this.#context = context;
    this.#files = new Map(files.map((file) => [file.stream, file]));
  }

  static async open(roots: Roots, config: ConnectorConfig, context: ConnectorContext): Promise<FileSource> {
    const settings = sourceSettings(config);
    const place = placeOf(settings.path, roots);
    return new FileSource(place, settings, context, await listFiles(place, settings.format));
  }

  async check(): Promise<void> {
    for (const file of [...this.#files.values()].slice(0, CHECK_FILES))
      await this.#infer(file, CHECK_RECORDS);
  }

  async discover(): Promise<readonly Stream[]> {
    const streams: Stream[] = [];
    for (const file of this.#files.values()) {
      streams.push(streamOf(await this.#infer(file, this.#settings.sample)));
    }
    return streams;
  }

  async describe(name: string): Promise<Stream> {
    const file = this.#files.get(name);
    if (file === undefined) {
      throw new ConnectorError(
        "not_found",
        `"${this.#settings.path}" holds no file for the stream "${name}"`,
        {
          details: { stream: name, path: this.#settings.path },
        },
      );
    }
    const described = await this.#infer(file, this.#settings.sample);
    this.#described.set(name, described);
    return streamOf(described);
  }

  async read(stream: Stream, encoding: Encoding): Promise<StreamData> {
    if (encoding !== "rows") throw new ConnectorError("unsupported", `files cannot be read as ${encoding}`);
    if (!this.#described.has(stream.name)) await this.describe(stream.name);
    const described = this.#described.get(stream.name);
    if (described === undefined) throw new Error("describe did not keep the stream");
    return { encoding: "rows", batches: this.#batches(described, stream.columns) };
  }

  async close(): Promise<void> {
    const files = [...this.#open];
    this.#open.clear();
    await Promise.all(files.map((file) => file.handle.close()));
  }

  async *#batches(described: Described, columns: readonly Column[]): AsyncGenerator<RowBatch> {
    const { layout } = described;
    const file = await this.#openFile(described.file);
    try {
      // The types were inferred from another state of the file.
      if (!sameFile(file.fingerprint, described.fingerprint)) throw changedError(file.where);
      const meter: Meter = { bytes: 0 };
      const text = readText(file, meter, this.#context.signal);
      const reader = this.#readerOf(described.file);
      const rows = reader.rows({ where: file.where, text }, layout, columns, this.#options());
      for await (const batch of inBatches(rows, meter)) {
        this.#context.signal.throwIfAborted();
        yield batch;
      }
    } catch (error) {
      throw storeError(error, file.where.path);
    } finally {
      await this.#closeFile(file);
    }
  }

  async #infer(listed: ListedFile, sample: number): Promise<Described> {
    const file = await this.#openFile(listed);
    try {
      const text = readText(file, { bytes: 0 }, this.#context.signal);
      const options = { ...this.#options(), sample };
      const layout = await this.#readerOf(listed).infer({ where: file.where, text }, options);
      this.#refuseUnknownColumns(layout);
      return { file: listed, layout, fingerprint: file.fingerprint };
    } catch (error) {
      throw storeError(error, listed.path);
    } finally {
      await this.#closeFile(file);
    }
  }

  /** With several files a declared column need not be in each of them. */
  #refuseUnknownColumns(layout: Layout): void {
    if (this.#files.size > 1) return;
    const known = new Set(layout.columns.map((column) => column.name));
    for (const name of this.#settings.columns.keys()) {
      if (known.has(name)) continue;
      const names = [...known].slice(0, 20).join(", ");
      throw configError(`"columns" names "${name}", which the file does not have; it has ${names}`, {
        column: name,
      });
    }
  }

  async #openFile(listed: ListedFile): Promise<OpenFile> {
    const folder = await openFolder(this.#place, listed.names);
    try {
      const handle = await folder.openFile(listed.name);
      const fingerprint = await fingerprintOf(handle);
      const where = { stream: listed.stream, path: listed.path };
      const file: OpenFile = { handle, fingerprint, where, gzip: isGzip(listed.name) };
      this.#open.add(file);
      return file;
    } catch (error) {
      throw storeError(error, listed.path);
    } finally {
      await folder.close();
    }
  }

  async #closeFile(file: OpenFile): Promise<void> {
    if (this.#open.delete(file)) await file.handle.close();
  }

  #readerOf(file: ListedFile): FormatReader {
    if (file.format === "jsonl") return jsonlReader;
    const { delimiter, quote, header, nullValue } = this.#settings;
    const byName = extensionOf(file.name) === ".tsv" ? "\t" : ",";
    return csvReader({ delimiter: delimiter ?? byName, quote, header, nullValue });
  }

  #options(): ReadOptions {
    return { declared: this.#settings.columns, sample: this.#settings.sample };
  }
}

function streamOf({ file, layout, fingerprint }: Described): Stream {
  return {
    name: file.stream,
    columns: layout.columns,
    primaryKey: [],
    cursorFields: [],
    syncModes: ["full_refresh"],
    // On the disk, as the batches count: what is packed is counted packed.
    estimate: { bytes: Number(fingerprint.size) },
  };
}
