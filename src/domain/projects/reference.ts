import { type Principal, projectFilter } from "../../auth/principal.js";
import { parseId } from "../../platform/ids.js";
import type { PrismaTransaction } from "../../platform/prisma.js";

export type Environment = "development" | "staging" | "production";

export interface Project {
  readonly id: string;
  readonly number: number;
  readonly organizationId: string;
  readonly slug: string;
  readonly name: string;
  readonly environment: Environment;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Largest value of the integer column. */
const MAX_NUMBER = 2_147_483_647;

/** The projects that a principal sees, as a condition of the query itself. */
export function visibleProjects(principal: Principal) {
  const visible = projectFilter(principal);
  return {
    organizationId: principal.organizationId,
    deletedAt: null,
    ...(visible === null ? {} : { id: { in: visible } }),
  };
}

/** The projects that a principal names by slug, number or UUID, each in its place; null where it sees none such. */
export async function resolveProjects(
  tx: PrismaTransaction,
  principal: Principal,
  references: readonly string[],
): Promise<(Project | null)[]> {
  if (references.length === 0) return [];
  const found = await tx.project.findMany({
    where: { ...visibleProjects(principal), OR: references.flatMap(meanings) },
  });
  return references.map((reference) => {
    const number = numberOf(reference);
    const id = parseId(reference);
    const exact = found.find((project) => project.id === id || project.number === number);
    // A slug may look like a number or an id: those go first.
    return exact ?? found.find(({ slug }) => slug === reference) ?? null;
  });
}

/** What a reference may mean. */
function meanings(reference: string) {
  const id = parseId(reference);
  const number = numberOf(reference);
  return [{ slug: reference }, ...(id === null ? [] : [{ id }]), ...(number === null ? [] : [{ number }])];
}

function numberOf(reference: string): number | null {
  if (!/^\d{1,10}$/.test(reference)) return null;
  const number = Number(reference);
  return number <= MAX_NUMBER ? number : null;
}
