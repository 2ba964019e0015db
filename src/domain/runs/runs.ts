import { type Principal, projectFilter } from "../../auth/principal.js";
import { notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import type { PrismaClient } from "../../platform/prisma.js";
import type { RunState, StepState } from "../jobs/state.js";

export interface StepView {
  readonly name: string;
  readonly type: string;
  readonly state: StepState;
  readonly dependsOn: readonly string[];
  readonly rows: bigint;
  readonly bytes: bigint;
  readonly exitCode: number | null;
  readonly error: unknown;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

export interface RunView {
  readonly id: string;
  readonly organizationId: string;
  readonly projectId: string;
  readonly jobId: string;
  readonly jobVersion: number;
  readonly number: number;
  readonly state: RunState;
  readonly trigger: string;
  readonly operationId: string;
  readonly rows: bigint;
  readonly bytes: bigint;
  readonly error: unknown;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

export class Runs {
  readonly #prisma: PrismaClient;

  constructor(prisma: PrismaClient) {
    this.#prisma = prisma;
  }

  /** Runs of a job, newest first. */
  async list(jobId: string, limit: number, before: number | null): Promise<RunView[]> {
    const rows = await this.#prisma.run.findMany({
      where: { jobId, ...(before === null ? {} : { number: { lt: before } }) },
      orderBy: { number: "desc" },
      take: limit,
    });
    return rows.map((row) => ({ ...row, state: row.state as RunState }));
  }

  /** A run that the principal reaches, with its steps in the order of the graph. */
  async get(principal: Principal, reference: string): Promise<RunView & { steps: StepView[] }> {
    const projects = projectFilter(principal);
    const id = parseId(reference);
    const row =
      id === null
        ? null
        : await this.#prisma.run.findFirst({
            where: {
              id,
              organizationId: principal.organizationId,
              ...(projects === null ? {} : { projectId: { in: projects } }),
            },
            include: { steps: { orderBy: { position: "asc" } } },
          });
    if (row === null) throw notFound("run");
    const steps = row.steps.map((step) => ({ ...step, state: step.state as StepState }));
    return { ...row, state: row.state as RunState, steps };
  }
}
