import { rename } from "node:fs/promises";
import { type Fence, FencedError } from "../connector.js";
import type { CommitRecord } from "./commit-record.js";
import { errnoOf } from "./errors.js";
import type { Folder } from "./folder.js";
import { compareWriters, type JobFolder, type WorkFolder, workName } from "./job-folder.js";

/**
 * Moments at which tests stop a writer, in their order. `opened`: the work folder is made. `aside`: older ones
 * lost their names. `written`: a stream lies in the work folder. `recorded`: the record's draft too. `linked`: the
 * commit has happened. `placed`: a file is in place. `cleaned`: nothing is left to do.
 */
export type Point = "opened" | "aside" | "written" | "recorded" | "linked" | "placed" | "cleaned";
export type OnPoint = (point: Point) => void | Promise<void>;

export interface Takeover {
  /** What this very run committed in an earlier attempt; then there is nothing to write, and no work folder. */
  readonly committed: CommitRecord | null;
  /** What the run before committed. */
  readonly previous: CommitRecord | null;
}

/**
 * Takes a job's folder for (run, attempt). The name of a work folder is the right to commit from it. A new writer
 * first makes its own folder and only then looks for others: of two that come at once, at least one sees the
 * other, and the older gives way. It takes their names from the older folders and removes the drafts in them;
 * a commit that slipped in before that is found by looking at the records again, and completed.
 */
export async function takeOver(job: JobFolder, fence: Fence, onPoint: OnPoint): Promise<Takeover> {
  refuseIfOvertaken(await job.workFolders(), fence);
  const before = await completeNewest(job, fence, onPoint);
  if (before?.run === fence.run) return { committed: before, previous: before };

  const own = workName(fence);
  while (!(await job.makeWork(own))) await job.setAside(own);
  await onPoint("opened");
  try {
    await overtake(job, fence, onPoint);
    const record = await completeNewest(job, fence, onPoint);
    const committed = record?.run === fence.run ? record : null;
    if (committed !== null) await job.removeWork(own);
    await removeAside(job, fence);
    return { committed, previous: record };
  } catch (error) {
    if (error instanceof FencedError) await job.removeWork(own);
    throw error;
  }
}

async function overtake(job: JobFolder, fence: Fence, onPoint: OnPoint): Promise<void> {
  const found = await job.workFolders();
  refuseIfOvertaken(found, fence);
  for (const work of found) {
    if (!work.aside && compareWriters(work, fence) < 0) await job.setAside(work.name);
  }
  await onPoint("aside");
  for (const work of await olderAside(job, fence)) await job.dropDraft(work.name);
}

async function removeAside(job: JobFolder, fence: Fence): Promise<void> {
  for (const work of await olderAside(job, fence)) await job.removeWork(work.name);
}

/** An own folder set aside counts too: the same attempt came a second time. */
async function olderAside(job: JobFolder, fence: Fence): Promise<readonly WorkFolder[]> {
  return (await job.workFolders()).filter((work) => work.aside && compareWriters(work, fence) <= 0);
}

function refuseIfOvertaken(found: readonly WorkFolder[], fence: Fence): void {
  const newer = found.find((work) => compareWriters(work, fence) > 0);
  if (newer === undefined) return;
  throw new FencedError(
    `run ${newer.run}, attempt ${newer.attempt} has taken over from run ${fence.run}, attempt ${fence.attempt}`,
  );
}

/** Completes the newest commit, if a death kept that from being done. */
async function completeNewest(job: JobFolder, fence: Fence, onPoint: OnPoint): Promise<CommitRecord | null> {
  const record = await job.newestRecord();
  if (record === null) return null;
  if (record.run > fence.run) throw new FencedError(`run ${record.run} has committed after run ${fence.run}`);
  await rollForward(job, record, onPoint);
  return record;
}

/**
 * Brings the files of a committed run into place. Safe to repeat, and for several at once: a rename moves each
 * file exactly once, and what is not in the work folder any more is in place already.
 */
export async function rollForward(job: JobFolder, record: CommitRecord, onPoint: OnPoint): Promise<void> {
  const found = await job.workFolders();
  const folders = found.filter((work) => work.run === record.run && work.attempt === record.attempt);
  for (const { name } of folders) {
    const work = await job.openWork(name);
    if (work === null) continue;
    try {
      for (const { file } of record.files) if (await moved(work, job.target, file)) await onPoint("placed");
      // The renames, before the folder that they came from goes.
      await job.target.sync();
    } finally {
      await work.close();
    }
    await job.removeWork(name);
  }
  await job.dropRecordsBefore(record.run);
}

async function moved(from: Folder, to: Folder, file: string): Promise<boolean> {
  try {
    await rename(from.at(file), to.at(file));
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}
