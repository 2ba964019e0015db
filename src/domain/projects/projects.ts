import type { Principal } from "../../auth/principal.js";
import { AppError, conflict, invalid, notFound } from "../../platform/errors.js";
import { newId, parseId } from "../../platform/ids.js";
import { isUniqueViolation, type PrismaClient, type PrismaTransaction } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import { requireDestructive } from "./destructive.js";
import { type Environment, type Project, resolveProjects, visibleProjects } from "./reference.js";

export type { Project } from "./reference.js";

export interface ProjectInput {
  readonly slug: string;
  readonly name: string;
  readonly environment: Environment;
}

/** How slugs look: names of hosts, so that they stand in addresses as they are. */
export const SLUG_PATTERN = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$";
export const MAX_SLUG = 63;

/** How many names of what is in the way an error shows. */
const SHOWN = 5;

export class Projects {
  readonly #prisma: PrismaClient;

  constructor(prisma: PrismaClient) {
    this.#prisma = prisma;
  }

  /**
   * The project that a client names by slug, number or UUID. One that the principal does not reach is "not
   * found", the same as one that does not exist.
   */
  async find(principal: Principal, reference: string): Promise<Project> {
    return findIn(this.#prisma, principal, reference);
  }

  /** Those that the principal reaches, by id. */
  async list(principal: Principal, limit: number, after: string | null): Promise<Project[]> {
    return this.#prisma.project.findMany({
      where: { ...visibleProjects(principal), AND: after === null ? [] : [{ id: { gt: after } }] },
      orderBy: { id: "asc" },
      take: limit,
    });
  }

  /** Only for who reaches all projects: nobody else would reach the new one. */
  async create(principal: Principal, input: ProjectInput): Promise<Project> {
    if (principal.projects !== "all") {
      throw new AppError("forbidden", "making projects needs access to all projects of the organization");
    }
    checkSlug(input.slug);
    try {
      return await this.#prisma.$transaction(async (tx) => {
        const project = await tx.project.create({
          data: { id: newId(), organizationId: principal.organizationId, ...input },
        });
        await record(tx, principal, "project.create", project, { ...input });
        return project;
      });
    } catch (error) {
      throw taken(error, input.slug);
    }
  }

  /** Taking the environment `production` away lifts a protection, so it needs `production:destructive`. */
  async update(principal: Principal, reference: string, changes: Partial<ProjectInput>): Promise<Project> {
    if (changes.slug !== undefined) checkSlug(changes.slug);
    try {
      return await this.#prisma.$transaction(async (tx) => {
        const project = await lockIn(tx, principal, reference);
        const { environment = project.environment } = changes;
        if (environment !== "production") requireDestructive(principal, project);
        const updated = await tx.project.update({ where: { id: project.id }, data: { ...changes } });
        await record(tx, principal, "project.update", project, { ...changes });
        return updated;
      });
    } catch (error) {
      throw taken(error, changes.slug ?? reference);
    }
  }

  /** Soft delete; refused while something lives in it, naming that. Its slug becomes free. */
  async delete(principal: Principal, reference: string): Promise<void> {
    await this.#prisma.$transaction(async (tx) => {
      const project = await lockIn(tx, principal, reference);
      requireDestructive(principal, project);
      await refuseUnlessEmpty(tx, project);
      const link = { where: { projectId: project.id } };
      await tx.apiClientProject.deleteMany(link);
      await tx.apiKeyProject.deleteMany(link);
      await tx.userProject.deleteMany(link);
      // Nothing happens in it any more that they could tell of.
      await tx.webhookSecret.deleteMany({ where: { webhook: { projectId: project.id } } });
      await tx.webhook.updateMany({
        where: { projectId: project.id, deletedAt: null },
        data: { deletedAt: new Date() },
      });
      await tx.project.update({
        where: { id: project.id },
        // No slug can look like this one, so the old one can be had again.
        data: { deletedAt: new Date(), slug: `${project.slug}~${project.id}` },
      });
      await record(tx, principal, "project.delete", project, { slug: project.slug });
    });
  }
}

async function findIn(tx: PrismaTransaction, principal: Principal, reference: string): Promise<Project> {
  const [project] = await resolveProjects(tx, principal, [reference]);
  if (project === undefined || project === null) throw notFound("project");
  return project;
}

/** The project as it stays until the end of the transaction. */
async function lockIn(tx: PrismaTransaction, principal: Principal, reference: string): Promise<Project> {
  const { id } = await findIn(tx, principal, reference);
  await tx.$queryRaw`SELECT 1 FROM projects WHERE id = ${id}::uuid FOR UPDATE`;
  return findIn(tx, principal, id);
}

async function refuseUnlessEmpty(tx: PrismaTransaction, project: Project): Promise<void> {
  const where = { projectId: project.id, deletedAt: null };
  const select = { name: true } as const;
  const shown = { where, select, orderBy: { id: "asc" }, take: SHOWN } as const;
  const living = { projectId: project.id, terminatedAt: null };
  const databases = { ...shown, where: living };
  const inTheWay = [
    describe("job", await tx.job.count({ where }), await tx.job.findMany(shown)),
    describe("connection", await tx.connection.count({ where }), await tx.connection.findMany(shown)),
    describe(
      "database",
      await tx.deployment.count({ where: living }),
      await tx.deployment.findMany(databases),
    ),
  ].filter((text) => text !== null);
  if (inTheWay.length > 0) {
    throw conflict(`the project ${project.slug} still has ${inTheWay.join(" and ")}: delete them first`);
  }
}

function describe(kind: string, count: number, first: readonly { readonly name: string }[]): string | null {
  if (count === 0) return null;
  const names = first.map(({ name }) => name).join(", ");
  return `${count} ${kind}${count === 1 ? "" : "s"} (${names}${count > first.length ? ", ..." : ""})`;
}

function record(
  tx: PrismaTransaction,
  principal: Principal,
  action: string,
  { id }: Project,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  return audit(tx, principal, { action, target: { type: "project", id }, projectId: id, details });
}

/** A reference may be an id or a slug: no slug may look like an id. */
function checkSlug(slug: string): void {
  if (parseId(slug) === null) return;
  throw invalid("/slug looks like an id", [{ path: "/slug", message: "must not look like an id" }]);
}

function taken(error: unknown, slug: string): unknown {
  return isUniqueViolation(error) ? conflict(`a project with the slug "${slug}" exists already`) : error;
}
