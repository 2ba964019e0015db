import type { Principal } from "../../auth/principal.js";
import type { PrismaClient } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import { parseCron, parseTimeZone } from "../schedules/cron.js";
import type { Jobs } from "./jobs.js";
import { reschedule, type ScheduleChange } from "./schedule.js";
import type { JobView } from "./view.js";

/** Changes when jobs run by themselves. */
export class JobSchedules {
  readonly #prisma: PrismaClient;
  readonly #jobs: Jobs;

  constructor(prisma: PrismaClient, jobs: Jobs) {
    this.#prisma = prisma;
    this.#jobs = jobs;
  }

  /** Throws an invalid request for what is no cron expression or no time zone. */
  async change(principal: Principal, id: string, change: ScheduleChange): Promise<JobView> {
    const { schedule, timeZone } = change;
    const checked: ScheduleChange = {
      ...change,
      schedule: schedule === undefined ? undefined : parseCron(schedule ?? "", "/schedule"),
      timeZone: timeZone === undefined ? undefined : parseTimeZone(timeZone, "/timeZone"),
    };
    const { projectId, name } = await this.#jobs.getAny(principal, id);
    await this.#prisma.$transaction(async (tx) => {
      const next = await reschedule(tx, id, checked, principal.name);
      const target = { type: "job", id };
      await audit(tx, principal, { action: "job.schedule", target, projectId, details: { name, ...next } });
    });
    return this.#jobs.getAny(principal, id);
  }
}
