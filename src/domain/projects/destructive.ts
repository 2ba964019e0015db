import type { Principal } from "../../auth/principal.js";
import { AppError } from "../../platform/errors.js";
import type { Project } from "./reference.js";

/**
 * What deletes or overwrites in a production project needs a scope besides that of its route (DESIGN.md section 5).
 * Throws `insufficient_scope`.
 */
export function requireDestructive(
  principal: Principal,
  { environment, slug }: Pick<Project, "environment" | "slug">,
): void {
  const scope = "production:destructive";
  if (environment !== "production" || principal.scopes.has(scope)) return;
  const message = `the project ${slug} is production: ${scope} is required`;
  throw new AppError("insufficient_scope", message, { details: { scope } });
}
