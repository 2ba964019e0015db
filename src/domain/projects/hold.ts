import { notFound } from "../../platform/errors.js";
import type { PrismaTransaction } from "../../platform/prisma.js";

/** Keeps a project from being deleted until the transaction ends; throws "not found" where it is gone already. */
export async function holdProject(tx: PrismaTransaction, projectId: string): Promise<void> {
  const held = await tx.$queryRaw<object[]>`
    SELECT 1 FROM projects WHERE id = ${projectId}::uuid AND deleted_at IS NULL FOR KEY SHARE`;
  if (held.length === 0) throw notFound("project");
}
