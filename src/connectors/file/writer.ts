import { type FileHandle, lstat } from "node:fs/promises";
import {
  type ConnectorContext,
  ConnectorError,
  type DestinationWriter,
  type Encoding,
  type Fence,
  FencedError,
  InDoubtError,
  type Stream,
  type StreamData,
  type StreamResult,
} from "../connector.js";
import type { CommitRecord, CommittedFile } from "./commit-record.js";
import { configError, errnoOf, onStore, orIfMissing } from "./errors.js";
import { fileNameOf } from "./file-name.js";
import type { Folder } from "./folder.js";
import { type JobFolder, workName } from "./job-folder.js";
import type { RowWriterFactory } from "./row-writer.js";
import { writeStreamFile } from "./stream-file.js";
import { type OnPoint, rollForward, type Takeover } from "./takeover.js";

export interface FileWriterOptions {
  readonly job: JobFolder;
  readonly fence: Fence;
  readonly takeover: Takeover;
  readonly extension: string;
  readonly rowWriter: RowWriterFactory;
  readonly context: ConnectorContext;
  /** The destination's folder, for messages. */
  readonly path: string;
  readonly onPoint: OnPoint;
}

/** Writes the files of one run aside and swaps them into place; see `takeover.ts` for who may. */
export class FileWriter implements DestinationWriter {
  readonly encodings: readonly Encoding[] = ["rows"];
  readonly committed: ReadonlyMap<string, StreamResult> | null;
  readonly #options: FileWriterOptions;
  readonly #work: string;
  readonly #owned: ReadonlySet<string>;
  /** Stream by file, from the moment its writing starts. */
  readonly #claimed = new Map<string, string>();
  readonly #files: CommittedFile[] = [];
  #inode: bigint | undefined;
  /** `maybe`: the link was tried and its outcome is unknown, so nothing that it would need may be removed. */
  #linked: "no" | "maybe" | "yes" = "no";
  #done: boolean;

  constructor(options: FileWriterOptions) {
    const { committed, previous } = options.takeover;
    this.#options = options;
    this.#work = workName(options.fence);
    this.#owned = new Set(previous?.owned ?? []);
    this.#done = committed !== null;
    this.committed =
      committed === null
        ? null
        : new Map(committed.files.map(({ stream, rows, bytes }) => [stream, { rows, bytes }]));
  }

  async write(
    stream: Stream,
    data: StreamData,
    onProgress: (soFar: StreamResult) => void,
  ): Promise<StreamResult> {
    if (this.#done) throw new ConnectorError("failed", `run ${this.#options.fence.run} is committed already`);
    if (data.encoding !== "rows") throw new ConnectorError("unsupported", `files take no ${data.encoding}`);
    const file = fileNameOf(stream.name, this.#options.extension);
    this.#claim(file, stream.name);
    try {
      const result = await this.#writeFile(file, stream, data, onProgress);
      this.#files.push({ file, stream: stream.name, ...result });
      await this.#options.onPoint("written");
      return result;
    } catch (error) {
      this.#claimed.delete(file);
      throw error;
    }
  }

  async commit(): Promise<void> {
    if (this.#done) return;
    try {
      await onStore(this.#options.path, () => this.#commit());
    } catch (error) {
      // Linked, the run has happened, and whoever comes next brings its files into place.
      throw this.#linked === "no" || error instanceof FencedError ? error : new InDoubtError(error);
    }
  }

  /**
   * Before a commit it empties the work folder but leaves it: it is what tells an older attempt that wakes up
   * late that it was overtaken. The next writer removes it.
   */
  async close(): Promise<void> {
    try {
      if (!this.#done && this.#linked === "no") await this.#emptyWork();
    } catch (error) {
      const message = `the work folder ${this.#work} could not be emptied: ${String(error)}`;
      if (!(error instanceof FencedError)) this.#options.context.log("warn", message);
    }
    await this.#options.job.close().catch(() => {});
  }

  async #emptyWork(): Promise<void> {
    const work = await this.#openWork();
    try {
      await work.clear();
    } finally {
      await work.close();
    }
  }

  async #writeFile(
    file: string,
    stream: Stream,
    data: StreamData & { encoding: "rows" },
    onProgress: (soFar: StreamResult) => void,
  ): Promise<StreamResult> {
    const path = `${this.#options.path}/${file}`;
    const { work, handle } = await onStore(path, () => this.#createFile(file, stream.name));
    try {
      const onPause = async (soFar: StreamResult): Promise<void> => {
        onProgress(soFar);
        await onStore(path, () => this.#requireWork());
      };
      const { signal } = this.#options.context;
      const rowWriter = this.#options.rowWriter(stream.columns);
      const result = await writeStreamFile(handle, rowWriter, data.batches, { path, signal, onPause });
      // A file can be written to the end after it was removed.
      await onPause(result);
      return result;
    } catch (error) {
      await work.remove(file).catch(() => {});
      throw error;
    } finally {
      await handle.close();
      await work.close();
    }
  }

  async #createFile(file: string, stream: string): Promise<{ work: Folder; handle: FileHandle }> {
    await this.#refuseForeign([file]);
    const work = await this.#openWork();
    try {
      return { work, handle: await work.createFile(file) };
    } catch (error) {
      await work.close();
      // The folder was removed after it was opened.
      if (errnoOf(error) === "ENOENT") throw this.#overtaken();
      // Only where the file system sees no difference between two names.
      if (errnoOf(error) !== "EEXIST") throw error;
      throw configError(`another stream than "${stream}" is the file "${file}" already`, { file, stream });
    }
  }

  async #commit(): Promise<void> {
    const { job, onPoint } = this.#options;
    const record = this.#record();
    if (this.#linked !== "yes") await this.#link(record);
    this.#linked = "yes";
    await onPoint("linked");
    await rollForward(job, record, onPoint);
    this.#done = true;
    await onPoint("cleaned");
  }

  async #link(record: CommitRecord): Promise<void> {
    const { job, fence, context, onPoint } = this.#options;
    await this.#refuseForeign([...this.#claimed.keys()]);
    const work = await this.#openWork();
    try {
      await job.writeDraft(work, record);
    } catch (error) {
      throw errnoOf(error) === "ENOENT" ? this.#overtaken() : error;
    } finally {
      await work.close();
    }
    await onPoint("recorded");
    context.signal.throwIfAborted();
    this.#linked = "maybe";
    const linked = await job.linkDraft(this.#work, fence.run);
    // Taken already: by this attempt, where the answer to its link was lost, or by another.
    if (linked === true || (linked === false && (await job.record(fence.run))?.attempt === fence.attempt))
      return;
    this.#linked = "no";
    throw this.#overtaken();
  }

  #record(): CommitRecord {
    const { run, attempt } = this.#options.fence;
    const owned = [...new Set([...this.#owned, ...this.#files.map(({ file }) => file)])].sort();
    return { version: 1, run, attempt, files: this.#files, owned };
  }

  #claim(file: string, stream: string): void {
    const other = this.#claimed.get(file);
    if (other !== undefined) {
      throw configError(`the streams "${other}" and "${stream}" would both be the file "${file}"`, {
        file,
        stream,
      });
    }
    this.#claimed.set(file, stream);
  }

  /** Nothing that somebody else put there is overwritten. */
  async #refuseForeign(files: readonly string[]): Promise<void> {
    const { job, path } = this.#options;
    const others = await job.filesOfOthers();
    for (const file of files) {
      const label = `${path}/${file}`;
      const other = others.get(file);
      if (other !== undefined) {
        throw configError(
          `"${label}" belongs to job ${other}; choose another "path", or remove it and ${path}/.gatehouse/${other}`,
          { path: label, job: other },
        );
      }
      const there = await orIfMissing(lstat(job.target.at(file)), null);
      // No file is renamed over a folder, whoever made it.
      if (there === null || (this.#owned.has(file) && !there.isDirectory())) continue;
      throw configError(
        `"${label}" is there and was not written by this job; move it away or choose another "path"`,
        { path: label },
      );
    }
  }

  /** The work folder, as long as it is this writer's. */
  async #openWork(): Promise<Folder> {
    const work = await this.#options.job.openWork(this.#work);
    if (work === null) throw this.#overtaken();
    const inode = await work.inode();
    this.#inode ??= inode;
    if (inode === this.#inode) return work;
    await work.close();
    throw this.#overtaken();
  }

  async #requireWork(): Promise<void> {
    await (await this.#openWork()).close();
  }

  #overtaken(): FencedError {
    const { run, attempt } = this.#options.fence;
    return new FencedError(`a newer attempt has taken over from run ${run}, attempt ${attempt}`);
  }
}
