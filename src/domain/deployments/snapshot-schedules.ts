import type { Principal } from "../../auth/principal.js";
import { conflict, invalid, notFound } from "../../platform/errors.js";
import type { Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import { nextTick, parseCron, parseTimeZone } from "../schedules/cron.js";
import type { DueSchedule, ScheduleBook, ScheduleState } from "../schedules/engine.js";
import { system } from "../system.js";
import { acceptCommand, type DeploymentDeps } from "./accept.js";
import { type DeploymentRef, type HeldDeployment, holdOne } from "./access.js";
import type { ArchiveCommands } from "./archive-commands.js";
import type { Deployments } from "./deployments.js";
import { DEPLOYMENT } from "./operations.js";
import { refusal } from "./state.js";

export interface ScheduleInput {
  /** Five fields, or @daily, @hourly ... */
  readonly cron: string;
  /** IANA name. */
  readonly timeZone: string;
  /** How many of the snapshots that it makes are kept; null: as many as the plan keeps. */
  readonly keep: number | null;
}

export interface ScheduleView extends ScheduleInput {
  readonly deploymentId: string;
  /** Null: never. */
  readonly nextRunAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const COLUMNS = `deployment_id AS "deploymentId", cron, time_zone AS "timeZone", keep, next_run_at AS "nextRunAt",
  created_at AS "createdAt", updated_at AS "updatedAt"`;

const READ = {
  name: "snapshot_schedule_read",
  text: `SELECT ${COLUMNS} FROM snapshot_schedules WHERE deployment_id = $1`,
};

const PUT = {
  name: "snapshot_schedule_put",
  text: `INSERT INTO snapshot_schedules (deployment_id, cron, time_zone, keep, next_run_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (deployment_id) DO UPDATE SET cron = excluded.cron, time_zone = excluded.time_zone,
           keep = excluded.keep, next_run_at = excluded.next_run_at, updated_at = now()
         RETURNING ${COLUMNS}`,
};

const DUE = {
  name: "snapshot_schedules_due",
  text: `SELECT s.deployment_id AS id, s.cron, s.time_zone AS "timeZone", s.next_run_at AS "nextAt",
           d.organization_id AS "organizationId", d.project_id AS "projectId", clock_timestamp() AS now,
           (SELECT l.operation_id FROM operation_locks l
             WHERE l.resource_type = $1 AND l.resource_id = s.deployment_id) AS "activeOperationId"
         FROM snapshot_schedules s JOIN deployments d ON d.id = s.deployment_id
         WHERE s.next_run_at <= now() AND d.terminated_at IS NULL
         ORDER BY s.next_run_at LIMIT 1 FOR UPDATE OF s, d SKIP LOCKED`,
};

interface Due extends Omit<DueSchedule, "overlap" | "queuedAt" | "obstacle"> {
  /** The operation that holds the deployment. */
  readonly activeOperationId: string | null;
}

interface DueSnapshot extends DueSchedule {
  readonly on: HeldDeployment;
}

/** When snapshots are made by themselves. A tick that finds another operation at work passes: the next one counts. */
export class SnapshotSchedules implements ScheduleBook<DueSnapshot> {
  readonly kind = DEPLOYMENT;
  readonly due = "EXISTS (SELECT FROM snapshot_schedules WHERE next_run_at <= now())";
  readonly #deps: DeploymentDeps;
  readonly #deployments: Deployments;
  readonly #archives: ArchiveCommands;

  constructor(deps: DeploymentDeps, deployments: Deployments, archives: ArchiveCommands) {
    this.#deps = deps;
    this.#deployments = deployments;
    this.#archives = archives;
  }

  async get(principal: Principal, ref: DeploymentRef): Promise<ScheduleView> {
    await this.#deployments.find(this.#deps.db, principal, ref);
    const [row] = await this.#deps.db.rows<ScheduleView>(READ, [ref.id]);
    if (row === undefined) throw notFound("snapshot schedule");
    return row;
  }

  /** Sets or replaces it. Throws an invalid request for what is no cron expression or no time zone. */
  async put(principal: Principal, ref: DeploymentRef, input: ScheduleInput): Promise<ScheduleView> {
    const cron = cronOf(input.cron);
    const timeZone = zoneOf(input.timeZone);
    return this.#deps.db.transaction(async (tx) => {
      const on = await holdOne(tx, principal, ref);
      if (on.terminatedAt !== null) throw conflict("the database is terminated");
      const ofPlan = this.#deps.catalog.planOf(on.plan)?.snapshots ?? 0;
      if (ofPlan < (input.keep ?? 1)) {
        throw fault("/keep", `must be at most ${ofPlan}: the plan ${on.plan} keeps no more snapshots`);
      }
      const next = nextTick(cron, timeZone, new Date());
      const [row] = await tx.rows<ScheduleView>(PUT, [
        ...[on.id, cron, timeZone, input.keep, next, principal.name],
      ]);
      if (row === undefined) throw new Error("an insert returned no row");
      await note(tx, principal, on, "snapshotSchedule.put", { ...input });
      return row;
    });
  }

  /** What it has made stays. */
  async delete(principal: Principal, ref: DeploymentRef): Promise<void> {
    await this.#deps.db.transaction(async (tx) => {
      const on = await holdOne(tx, principal, ref);
      const gone = await tx.run("DELETE FROM snapshot_schedules WHERE deployment_id = $1", [on.id]);
      if (gone === 0) throw notFound("snapshot schedule");
      await note(tx, principal, on, "snapshotSchedule.delete", {});
    });
  }

  async take(tx: Sql): Promise<DueSnapshot | null> {
    const [due] = await tx.rows<Due>(DUE, [DEPLOYMENT]);
    if (due === undefined) return null;
    const on = await holdOne(tx, system("scheduler", due.organizationId), { id: due.id, engine: null });
    const { activeOperationId } = due;
    const reason = this.#reasonAgainst(due, on);
    const obstacle = reason === null ? null : { name: on.name, reason, activeOperationId };
    return { ...due, overlap: "skip", queuedAt: null, obstacle, on };
  }

  async start(tx: Sql, principal: Principal, { on }: DueSnapshot): Promise<void> {
    const acceptance = await this.#archives.planSnapshot(tx, principal, on, "schedule");
    const snapshot = { command: "snapshot", on, scheduled: true, ...acceptance } as const;
    await acceptCommand(tx, this.#deps.ledger, principal, snapshot);
  }

  async write(tx: Sql, { id }: DueSnapshot, { nextAt }: ScheduleState): Promise<void> {
    await tx.run("UPDATE snapshot_schedules SET next_run_at = $2 WHERE deployment_id = $1", [id, nextAt]);
  }

  /** Never beside another operation; what rests does not change, so nothing is missed by leaving it out. */
  #reasonAgainst({ activeOperationId }: Due, { state, plan }: HeldDeployment): string | null {
    if (activeOperationId !== null) return `operation ${activeOperationId} is at work`;
    if (state === "paused") return "the database is paused";
    if (this.#deps.catalog.planOf(plan)?.snapshots === 0) return `the plan ${plan} keeps no snapshots`;
    return refusal("snapshot", state);
  }
}

function cronOf(text: string): string {
  const cron = orNull(() => parseCron(text, "/cron"));
  if (cron !== null) return cron;
  throw fault("/cron", `"${text}" must be five cron fields such as "0 3 * * *", or @daily, @hourly ...`);
}

function zoneOf(text: string): string {
  const zone = orNull(() => parseTimeZone(text, "/timezone"));
  if (zone !== null) return zone;
  throw fault("/timezone", `"${text}" is no time zone, such as Europe/Berlin`);
}

/** Null where a text is none: these messages name the member. */
function orNull<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch {
    return null;
  }
}

function fault(path: string, message: string) {
  return invalid(`${path} ${message}`, [{ path, message }]);
}

async function note(
  tx: Sql,
  principal: Principal,
  on: HeldDeployment,
  action: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const target = { type: DEPLOYMENT, id: on.id };
  await auditSql(tx, principal, {
    action,
    target,
    projectId: on.projectId,
    details: { name: on.name, ...details },
  });
}
