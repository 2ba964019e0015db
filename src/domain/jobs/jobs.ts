import { type Principal, projectFilter } from "../../auth/principal.js";
import { conflict, invalid, notFound } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import {
  databaseTime,
  isUniqueViolation,
  type PrismaClient,
  type PrismaTransaction,
} from "../../platform/prisma.js";
import { type AuditEntry, audit } from "../audit/audit.js";
import { inPart } from "../connections/config.js";
import type { Connection, ConnectionInput, Connections, ListPage } from "../connections/connections.js";
import { requireDestructive } from "../projects/destructive.js";
import { holdProject } from "../projects/hold.js";
import type { Project } from "../projects/projects.js";
import { nextTick, parseCron, parseTimeZone } from "../schedules/cron.js";
import type { Overlap } from "../schedules/engine.js";
import { checkGraph, pipeline, type StreamSelection } from "./graph.js";
import { reschedule, scheduled } from "./schedule.js";
import { type JobRow, type JobView, toJobView, VIEW, withCurrent } from "./view.js";

/** A job as the project API describes it: source and destination inline. */
export interface PipelineInput {
  readonly name: string;
  readonly source: ConnectionInput;
  readonly destination: ConnectionInput;
  readonly frequency: string;
  /** IANA name; undefined: as it was, at first UTC. */
  readonly timeZone?: string | undefined;
  /** Undefined: as it was, at first `skip`. */
  readonly overlap?: Overlap | undefined;
  /** Null: every stream. */
  readonly streams: readonly StreamSelection[] | null;
  /** Whether the schedule is on. */
  readonly active: boolean;
  /** What the dialect keeps to answer in the form that it was sent. */
  readonly presentation: object;
}

export interface JobFilter {
  readonly processing?: string;
  readonly execution?: string;
  readonly state?: string;
  /** Names and values of tags that a job must have, all of them. */
  readonly tags?: readonly (readonly [name: string, value: string])[];
}

export class Jobs {
  readonly #prisma: PrismaClient;
  readonly #connections: Connections;

  constructor(prisma: PrismaClient, connections: Connections) {
    this.#prisma = prisma;
    this.#connections = connections;
  }

  /** Makes a job, and the connections that its description names and that do not exist yet. */
  async create(principal: Principal, project: Project, input: PipelineInput): Promise<JobView> {
    const schedule = parseCron(input.frequency, "/frequency");
    const timeZone = parseTimeZone(input.timeZone ?? "UTC", "/time_zone");
    const id = newId();
    try {
      return await this.#prisma.$transaction(async (tx) => {
        await holdProject(tx, project.id);
        const ends = await this.#ends(tx, principal, project, input);
        await tx.job.create({
          data: {
            id,
            organizationId: project.organizationId,
            projectId: project.id,
            name: input.name,
            schedule,
            timeZone,
            overlap: input.overlap ?? "skip",
            nextRunAt: nextTick(schedule, timeZone, await databaseTime(tx)),
            active: input.active,
            tags: { createdUsing: "API", createdByUser: principal.name },
            createdBy: principal.name,
            updatedBy: principal.name,
          },
        });
        await this.#writeVersion(tx, principal, id, 0, ends, input);
        await audit(tx, principal, entry("job.create", { id, projectId: project.id, name: input.name }));
        return this.#view(tx, { id });
      });
    } catch (error) {
      throw taken(error, input.name);
    }
  }

  /** Replaces a job's description: a new version. Runs that have begun keep theirs. */
  async update(
    principal: Principal,
    project: Project,
    number: number,
    input: PipelineInput,
  ): Promise<JobView> {
    const schedule = parseCron(input.frequency, "/frequency");
    try {
      return await this.#prisma.$transaction(async (tx) => {
        // Two changes at once take their versions one after the other.
        await tx.$queryRaw`
          SELECT 1 FROM jobs WHERE project_id = ${project.id}::uuid AND number = ${number} FOR UPDATE`;
        const job = await this.#view(tx, { number, projectId: project.id });
        const ends = await this.#ends(tx, principal, project, input);
        const timeZone = parseTimeZone(input.timeZone ?? job.timeZone, "/time_zone");
        const { overlap = job.overlap } = input;
        const { version } = await tx.job.update({
          where: { id: job.id },
          data: {
            name: input.name,
            ...scheduled({ schedule, timeZone, overlap, active: input.active }, job, await databaseTime(tx)),
            updatedBy: principal.name,
            version: { increment: 1 },
          },
        });
        await tx.jobConnection.deleteMany({ where: { jobId: job.id } });
        await this.#writeVersion(tx, principal, job.id, version, ends, input);
        await audit(tx, principal, entry("job.update", job, { version }));
        return this.#view(tx, { id: job.id });
      });
    } catch (error) {
      throw taken(error, input.name);
    }
  }

  async #ends(tx: PrismaTransaction, principal: Principal, project: Project, input: PipelineInput) {
    const resolve = (role: "source" | "destination"): Promise<Connection> =>
      this.#connections.resolveIn(tx, principal, project, role, input[role]).catch((error: unknown) => {
        throw inPart(role, error);
      });
    const source = await resolve("source");
    const destination = await resolve("destination");
    if (major(source.version) !== major(destination.version)) {
      throw invalid(
        `source version ${source.version} and destination version ${destination.version} do not go together`,
        [{ path: "/destination/version", message: `must be ${major(source.version)}.x like the source's` }],
      );
    }
    return { source, destination };
  }

  async #writeVersion(
    tx: PrismaTransaction,
    principal: Principal,
    jobId: string,
    version: number,
    ends: { source: Connection; destination: Connection },
    input: PipelineInput,
  ): Promise<void> {
    const graph = pipeline(ends.source.id, ends.destination.id, input.streams);
    checkGraph(graph);
    await tx.jobVersion.create({
      data: {
        jobId,
        version,
        graph: graph as object,
        presentation: input.presentation,
        createdBy: principal.name,
      },
    });
    await tx.jobConnection.createMany({
      data: [
        { jobId, connectionId: ends.source.id, role: "source" },
        { jobId, connectionId: ends.destination.id, role: "destination" },
      ],
    });
  }

  async setActive(principal: Principal, project: Project, number: number, active: boolean): Promise<void> {
    const job = await this.get(project, number);
    await this.#prisma.$transaction(async (tx) => {
      // Turned on again, it goes on with the next tick: those of the pause are not made up for.
      await reschedule(tx, job.id, { active }, principal.name);
      await audit(tx, principal, entry("job.activate", job, { active }));
    });
  }

  /** Soft delete; refused while a run is active. Answers the name. */
  async delete(principal: Principal, project: Project, number: number): Promise<string> {
    return this.#prisma.$transaction(async (tx) => {
      const job = await this.#view(tx, { number, projectId: project.id });
      requireDestructive(principal, project);
      await tx.$queryRaw`SELECT 1 FROM jobs WHERE id = ${job.id}::uuid FOR UPDATE`;
      const locks = await tx.operationLock.findMany({ where: { resourceId: job.id }, take: 1 });
      const [lock] = locks;
      if (lock !== undefined) {
        throw conflict(
          `operation ${lock.operationId} is still running on this job; wait for its end or cancel it`,
          {
            operationId: lock.operationId,
          },
        );
      }
      await tx.job.update({
        where: { id: job.id },
        data: { deletedAt: new Date(), active: false, updatedBy: principal.name },
      });
      await audit(tx, principal, entry("job.delete", job));
      return job.name;
    });
  }

  /** Jobs of a project, by number; optionally those that use one connection. */
  async list(
    project: Project,
    page: ListPage,
    uses: { sourceNumber?: number; destinationNumber?: number },
  ): Promise<JobView[]> {
    const using = (role: string, number: number) => ({
      connections: { some: { role, connection: { number } } },
    });
    const rows = await this.#prisma.job.findMany({
      where: {
        projectId: project.id,
        deletedAt: null,
        ...(page.after === null ? {} : { number: { gt: page.after } }),
        AND: [
          ...(uses.sourceNumber === undefined ? [] : [using("source", uses.sourceNumber)]),
          ...(uses.destinationNumber === undefined ? [] : [using("destination", uses.destinationNumber)]),
        ],
      },
      include: VIEW,
      orderBy: { number: "asc" },
      ...(page.limit === null ? {} : { take: page.limit }),
    });
    return (await withCurrent(this.#prisma, rows)).map((row) => this.#present(row));
  }

  /** Jobs whose current version uses one of these connections. */
  async using(project: Project, connectionIds: readonly string[]): Promise<JobView[]> {
    if (connectionIds.length === 0) return [];
    const rows = await this.#prisma.job.findMany({
      where: {
        projectId: project.id,
        deletedAt: null,
        connections: { some: { connectionId: { in: [...connectionIds] } } },
      },
      include: VIEW,
      orderBy: { number: "asc" },
    });
    return (await withCurrent(this.#prisma, rows)).map((row) => this.#present(row));
  }

  async get(project: Project, number: number): Promise<JobView> {
    return this.#view(this.#prisma, { number, projectId: project.id });
  }

  /** Jobs of everything that a principal reaches, by id. */
  async listAll(
    principal: Principal,
    filter: JobFilter,
    limit: number,
    after: string | null,
  ): Promise<JobView[]> {
    const rows = await this.#prisma.job.findMany({
      where: {
        ...reach(principal),
        deletedAt: null,
        ...(filter.processing === undefined ? {} : { processing: filter.processing }),
        ...(filter.execution === undefined ? {} : { execution: filter.execution }),
        ...(filter.state === undefined ? {} : { state: filter.state }),
        AND: [
          ...(after === null ? [] : [{ id: { gt: after } }]),
          ...(filter.tags ?? []).map(([name, value]) => ({ tags: { path: [name], equals: value } })),
        ],
      },
      include: VIEW,
      orderBy: { id: "asc" },
      take: limit,
    });
    return (await withCurrent(this.#prisma, rows)).map((row) => this.#present(row));
  }

  async getAny(principal: Principal, id: string): Promise<JobView> {
    return this.#view(this.#prisma, { ...reach(principal), AND: { id } });
  }

  async nameIsFree(project: Project, name: string): Promise<boolean> {
    return (await this.#prisma.job.count({ where: { projectId: project.id, name, deletedAt: null } })) === 0;
  }

  async #view(tx: PrismaTransaction, where: object): Promise<JobView> {
    const row = await tx.job.findFirst({ where: { ...where, deletedAt: null }, include: VIEW });
    if (row === null) throw notFound("job");
    const [read] = await withCurrent(tx, [row]);
    if (read === undefined) throw new Error("a job was lost on its way");
    return this.#present(read);
  }

  #present(row: JobRow): JobView {
    return toJobView(row, (connection) => this.#connections.present(connection));
  }
}

function entry(
  action: string,
  job: { id: string; projectId: string; name: string },
  details: object = {},
): AuditEntry {
  const target = { type: "job", id: job.id };
  return { action, target, projectId: job.projectId, details: { name: job.name, ...details } };
}

/** The rows that a principal may see, as a condition of the query itself. */
function reach(principal: Principal) {
  const projects = projectFilter(principal);
  return {
    organizationId: principal.organizationId,
    ...(projects === null ? {} : { projectId: { in: projects } }),
  };
}

function major(version: string): string {
  return version.split(".")[0] ?? version;
}

function taken(error: unknown, name: string): unknown {
  return isUniqueViolation(error) ? conflict(`a job named "${name}" exists already in this project`) : error;
}
