import { notFound } from "../../platform/errors.js";
import { databaseTime, type PrismaTransaction } from "../../platform/prisma.js";
import { nextTick } from "../schedules/cron.js";
import type { Overlap } from "../schedules/engine.js";

/** When a job runs by itself. */
export interface JobSchedule {
  /** Cron expression; null: never. */
  readonly schedule: string | null;
  readonly timeZone: string;
  readonly overlap: Overlap;
  /** Whether the schedule is on. */
  readonly active: boolean;
}

/** What is absent stays. */
export type ScheduleChange = { readonly [K in keyof JobSchedule]?: JobSchedule[K] | undefined };

/**
 * What is written of a schedule. One that comes at other times goes on with its next tick: what was due is not made up
 * for, and what waited is forgotten.
 * @param now by the database's clock, which ticks come by
 */
export function scheduled(next: JobSchedule, before: JobSchedule, now: Date) {
  const { schedule, timeZone, overlap, active } = next;
  const goesOn = active && before.active && schedule === before.schedule && timeZone === before.timeZone;
  return {
    ...{ schedule, timeZone, overlap, active },
    ...(goesOn ? {} : { nextRunAt: nextTick(schedule, timeZone, now) }),
    ...(goesOn && overlap === "queue" ? {} : { queuedAt: null }),
  };
}

/** Writes a change of a schedule, and no new version; answers with how it is then. The job is held from here on. */
export async function reschedule(
  tx: PrismaTransaction,
  jobId: string,
  change: ScheduleChange,
  by: string,
): Promise<JobSchedule> {
  await tx.$queryRaw`SELECT 1 FROM jobs WHERE id = ${jobId}::uuid FOR UPDATE`;
  const row = await tx.job.findFirst({ where: { id: jobId, deletedAt: null } });
  if (row === null) throw notFound("job");
  const before: JobSchedule = { ...row, overlap: row.overlap as Overlap };
  const next: JobSchedule = {
    schedule: change.schedule === undefined ? before.schedule : change.schedule,
    timeZone: change.timeZone ?? before.timeZone,
    overlap: change.overlap ?? before.overlap,
    active: change.active ?? before.active,
  };
  await tx.job.update({
    where: { id: jobId },
    data: { ...scheduled(next, before, await databaseTime(tx)), updatedBy: by },
  });
  return next;
}
