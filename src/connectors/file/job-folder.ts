import { randomBytes } from "node:crypto";
import { link, mkdir, rename } from "node:fs/promises";
import { ConnectorError } from "../connector.js";
import { type CommitRecord, readRecord, recordName, runOfRecord } from "./commit-record.js";
import { errnoOf, orIfMissing } from "./errors.js";
import { ensureFolder, type Folder } from "./folder.js";
import { type Place, PRIVATE_FOLDER } from "./paths.js";

/** Who writes: greater is newer. */
export interface Writer {
  readonly run: number;
  readonly attempt: number;
}

/** A folder that a writer writes into; `aside`: an overtaken one, renamed so that its writer cannot find it. */
export interface WorkFolder extends Writer {
  readonly name: string;
  readonly aside: boolean;
}

/** The record in a work folder, before it is linked to its final name. */
const DRAFT = ".commit.json";
const WORK = /^(gone-)?r(\d{1,15})a(\d{1,15})(?:-[0-9a-f]+)?$/;
const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/;

export function workName(writer: Writer): string {
  return `r${writer.run}a${writer.attempt}`;
}

/** Negative where `a` is older than `b`. */
export function compareWriters(a: Writer, b: Writer): number {
  return a.run - b.run || a.attempt - b.attempt;
}

/** `<path>/.gatehouse/<jobId>/`: what a job keeps in its destination folder. */
export class JobFolder {
  /** The destination's folder itself. */
  readonly target: Folder;
  readonly #all: Folder;
  readonly #own: Folder;
  readonly #jobId: string;

  private constructor(target: Folder, all: Folder, own: Folder, jobId: string) {
    this.target = target;
    this.#all = all;
    this.#own = own;
    this.#jobId = jobId;
  }

  static async open(place: Place, jobId: string): Promise<JobFolder> {
    if (!JOB_ID.test(jobId)) throw new Error(`not a job id: ${JSON.stringify(jobId)}`);
    const opened: Folder[] = [];
    try {
      const target = await ensureFolder(place);
      opened.push(target);
      const all = await target.ensureFolder(PRIVATE_FOLDER);
      opened.push(all);
      const own = await all.ensureFolder(jobId);
      return new JobFolder(target, all, own, jobId);
    } catch (error) {
      for (const folder of opened) await folder.close();
      throw error;
    }
  }

  async workFolders(): Promise<readonly WorkFolder[]> {
    const folders: WorkFolder[] = [];
    for await (const entry of this.#own.entries()) {
      const match = WORK.exec(entry.name);
      if (match === null) continue;
      const [name, gone, run, attempt] = match;
      folders.push({ name, run: Number(run), attempt: Number(attempt), aside: gone !== undefined });
    }
    return folders;
  }

  /** The record of the newest run that committed. */
  async newestRecord(): Promise<CommitRecord | null> {
    return await newestRecord(this.#own);
  }

  async record(run: number): Promise<CommitRecord | null> {
    return await readRecord(this.#own, run);
  }

  /** Makes a work folder; false where it exists. */
  async makeWork(name: string): Promise<boolean> {
    try {
      await mkdir(this.#own.at(name));
      return true;
    } catch (error) {
      if (errnoOf(error) === "EEXIST") return false;
      throw error;
    }
  }

  /** Opens a work folder; null where it is gone. */
  async openWork(name: string): Promise<Folder | null> {
    return await orIfMissing(this.#own.folder(name), null);
  }

  /** Takes the name from a work folder, and with it the possibility to commit from there. */
  async setAside(name: string): Promise<void> {
    const aside = `gone-${name}-${randomBytes(8).toString("hex")}`;
    await orIfMissing(rename(this.#own.at(name), this.#own.at(aside)), undefined);
  }

  /** Removes the draft of a record: a link of it that was not made by now never will be. */
  async dropDraft(name: string): Promise<void> {
    const work = await this.openWork(name);
    if (work === null) return;
    try {
      await work.remove(DRAFT);
    } finally {
      await work.close();
    }
  }

  async removeWork(name: string): Promise<void> {
    await this.#own.remove(name);
  }

  /** Writes the draft of a record, durably. */
  async writeDraft(work: Folder, record: CommitRecord): Promise<void> {
    await work.remove(DRAFT);
    const handle = await work.createFile(DRAFT);
    try {
      await handle.writeFile(`${JSON.stringify(record)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await work.sync();
  }

  /**
   * The commit: link(2) gives the draft its final name, atomically and at most once per run. The draft is looked
   * up by the work folder's name, not by the open folder: to be overtaken is to lose that name. Gives false
   * where the run has a record already, null where the work folder or its draft is gone.
   */
  async linkDraft(name: string, run: number): Promise<boolean | null> {
    try {
      await link(`${this.#own.at(name)}/${DRAFT}`, this.#own.at(recordName(run)));
      await this.#own.sync();
      return true;
    } catch (error) {
      if (errnoOf(error) === "EEXIST") return false;
      if (errnoOf(error) === "ENOENT") return null;
      throw error;
    }
  }

  /** Removes the records of runs before `run`, which a newer record stands for. */
  async dropRecordsBefore(run: number): Promise<void> {
    const old: string[] = [];
    for await (const entry of this.#own.entries()) {
      const of = runOfRecord(entry.name);
      if (of !== undefined && of < run) old.push(entry.name);
    }
    for (const name of old) await this.#own.remove(name);
  }

  /** Files of this folder that other jobs wrote, by name, with the job. */
  async filesOfOthers(): Promise<ReadonlyMap<string, string>> {
    const files = new Map<string, string>();
    const jobs: string[] = [];
    for await (const entry of this.#all.entries()) if (entry.name !== this.#jobId) jobs.push(entry.name);
    for (const job of jobs) {
      const record = await this.#recordOf(job);
      for (const file of record?.owned ?? []) files.set(file, job);
    }
    return files;
  }

  async close(): Promise<void> {
    for (const folder of [this.#own, this.#all, this.target]) await folder.close();
  }

  async #recordOf(job: string): Promise<CommitRecord | null> {
    let folder: Folder;
    try {
      folder = await this.#all.folder(job);
    } catch (error) {
      // Removed meanwhile, or no job's folder at all.
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR" || error instanceof ConnectorError)
        return null;
      throw error;
    }
    try {
      return await newestRecord(folder);
    } finally {
      await folder.close();
    }
  }
}

async function newestRecord(folder: Folder): Promise<CommitRecord | null> {
  for (;;) {
    let newest = -1;
    for await (const entry of folder.entries()) newest = Math.max(newest, runOfRecord(entry.name) ?? -1);
    if (newest < 0) return null;
    const record = await readRecord(folder, newest);
    // Gone between the listing and the opening: a newer run has committed.
    if (record !== null) return record;
  }
}
