import { Type } from "typebox";
import type { DeploymentRef } from "../../domain/deployments/access.js";
import { ENGINE_NAMES } from "../../domain/deployments/engines.js";
import { invalid, notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import { Uuid } from "../schemas/common.js";

/** One of the ways in which the text writes the same routes. */
export interface RouteForm {
  readonly prefix: string;
  /** Whether the document shows it: the same routes stand there once. */
  readonly shown: boolean;
}

/** `/deployments/databases/{engine}/{id}`, with the engine or without; and the same without `/deployments`. */
export const ROUTE_FORMS: readonly RouteForm[] = [
  { prefix: `/deployments/databases/:engine(^${ENGINE_NAMES.join("|")}$)`, shown: true },
  { prefix: "/deployments/databases", shown: false },
  { prefix: "/databases", shown: false },
];

const Engine = Type.Optional(
  Type.String({
    examples: ["graphneo"],
    description: "`graphneo` or `postgres`. May be left out, and `/deployments` with it.",
  }),
);

export const EngineParams = Type.Object({ engine: Engine });
export const DatabaseParams = Type.Object({ engine: Engine, id: Uuid });
export const SnapshotParams = Type.Object({ engine: Engine, id: Uuid, snapshotId: Uuid });
export const ExportParams = Type.Object({ engine: Engine, id: Uuid, exportId: Uuid });
export const OperationParams = Type.Object({ engine: Engine, id: Uuid, operationId: Uuid });

/** The database that a path names; what is no id names nothing. */
export function refOf({ engine, id }: { engine?: string; id: string }): DeploymentRef {
  return { id: idOf(id, "database"), engine: engine ?? null };
}

/** An id of a path. */
export function idOf(text: string, what: string): string {
  const id = parseId(text);
  if (id === null) throw notFound(what);
  return id;
}

/** An id of a body. */
export function idInBody(text: string, field: string): string {
  const id = parseId(text);
  if (id === null) {
    const message = "must be an id: a UUID, with or without dashes";
    throw invalid(`/${field} ${message}`, [{ path: `/${field}`, message }]);
  }
  return id;
}

/** An id of a query. */
export function idInQuery(text: string, name: string): string {
  const id = parseId(text);
  if (id === null) {
    const message = "must be an id: a UUID, with or without dashes";
    throw invalid(`${name} ${message}`, [{ path: `/query/${name}`, message }]);
  }
  return id;
}
