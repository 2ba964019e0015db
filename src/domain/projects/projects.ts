import { type Principal, projectFilter } from "../../auth/principal.js";
import { notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import type { PrismaClient } from "../../platform/prisma.js";

export interface Project {
  readonly id: string;
  readonly number: number;
  readonly organizationId: string;
  readonly slug: string;
  readonly name: string;
  readonly environment: "development" | "staging" | "production";
}

/** Largest value of the integer column. */
const MAX_NUMBER = 2_147_483_647;

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
    const visible = projectFilter(principal);
    const project = await this.#prisma.project.findFirst({
      where: {
        organizationId: principal.organizationId,
        ...(visible === null ? {} : { id: { in: visible } }),
        AND: byReference(reference),
      },
    });
    if (project === null) throw notFound("project");
    return project;
  }
}

function byReference(reference: string) {
  const id = parseId(reference);
  if (id !== null) return { id };
  if (/^\d{1,10}$/.test(reference)) {
    const number = Number(reference);
    // A slug may consist of digits too; a number goes first.
    return number <= MAX_NUMBER ? { number } : { slug: reference };
  }
  return { slug: reference };
}
