import type { DeploymentsConfig } from "../../config/deployments.js";
import { findPlan, type Plan } from "../../config/plans.js";
import type { Region } from "../../config/regions.js";
import { AppError, conflict, type FieldError, invalid } from "../../platform/errors.js";
import type { Database } from "../../platform/sql.js";
import { ENGINE_NAMES, engineOf } from "./engines.js";
import { type DatedReport, type EngineReport, type EngineVersion, readRegionReports } from "./regions.js";

/** A version of an engine, and where it can be run. */
export interface AvailableVersion extends EngineVersion {
  readonly engine: string;
  readonly regions: readonly string[];
}

/** A region, and what of it is known. */
export interface RegionView extends Region {
  /** Whether its workers have been heard of lately. */
  readonly available: boolean;
  readonly engines: readonly EngineReport[];
}

/** What a new deployment is asked to be. */
export interface Wish {
  readonly engine: string;
  readonly plan: string;
  /** Absent: the newest. */
  readonly version?: string | undefined;
  /** Absent: the only one there is. */
  readonly region?: string | undefined;
  readonly extras?: readonly string[] | undefined;
}

export interface Choice {
  readonly engine: string;
  readonly plan: Plan;
  readonly version: string;
  readonly region: Region;
  readonly extras: readonly string[];
}

/** Seconds: a region that says nothing for so long has no worker. It speaks every minute. */
const LATELY_S = 150;

/** What there is to choose from: the configuration, joined with what each region can really run. */
export class DeploymentCatalog {
  readonly #db: Database;
  readonly #config: DeploymentsConfig;

  constructor(db: Database, config: DeploymentsConfig) {
    this.#db = db;
    this.#config = config;
  }

  get plans(): readonly Plan[] {
    return this.#config.plans;
  }

  planOf(id: string): Plan | null {
    return findPlan(this.#config.plans, id);
  }

  regionOf(name: string): Region | null {
    return this.#config.regions.find((region) => region.name === name) ?? null;
  }

  async regions(): Promise<RegionView[]> {
    const reports = await readRegionReports(this.#db);
    return this.#config.regions.map((region) => {
      const report = reports.get(region.name);
      return {
        ...region,
        available: report !== undefined && report.age < LATELY_S,
        engines: report?.engines ?? [],
      };
    });
  }

  /** What can be run somewhere, by engine, newest first. */
  async versions(): Promise<AvailableVersion[]> {
    const found = new Map<string, AvailableVersion>();
    for (const { name, engines } of await this.regions()) {
      for (const { engine, versions } of engines) {
        for (const version of versions) {
          const key = `${engine} ${version.number}`;
          const regions = [...(found.get(key)?.regions ?? []), name];
          found.set(key, { ...version, engine, regions });
        }
      }
    }
    const order = (one: AvailableVersion): number => ENGINE_NAMES.indexOf(one.engine);
    return [...found.values()].sort((a, b) => order(a) - order(b) || newestFirst(a.number, b.number));
  }

  /** How a version calls itself in a region; null where it is not known there (any more). */
  async describeVersions(): Promise<
    (region: string, engine: string, number: string) => EngineVersion | null
  > {
    const reports = await readRegionReports(this.#db);
    return (region, engine, number) =>
      reports
        .get(region)
        ?.engines.find((one) => one.engine === engine)
        ?.versions.find((one) => one.number === number) ?? null;
  }

  /**
   * What a wish comes to. Throws an invalid request that says what there is, or what to install, for what there is
   * not; unavailable where the region has not said yet what it can run.
   */
  async choose(wish: Wish): Promise<Choice> {
    if (engineOf(wish.engine) === null) {
      throw fault("/engine", `"${wish.engine}" is no engine; there are ${ENGINE_NAMES.join(", ")}`);
    }
    const plan = this.choosePlan(wish.plan, wish.engine);
    const region = this.#chooseRegion(wish.region);
    const report = (await readRegionReports(this.#db)).get(region.name);
    const { versions, extras } = engineIn(region, report, wish.engine);
    const version = chooseVersion(versions, wish);
    return { engine: wish.engine, plan, version, region, extras: chooseExtras(extras, wish) };
  }

  /** The plan of a name, for an engine. */
  choosePlan(id: string, engine: string, path = "/plan"): Plan {
    const offered = this.plans.filter(({ engines }) => engines === null || engines.includes(engine));
    const plan = offered.find((one) => one.id === id);
    if (plan !== undefined) return plan;
    const names = offered.map((one) => one.id).join(", ");
    throw fault(path, `"${id}" is no plan for ${engine}; there are ${names === "" ? "none" : names}`);
  }

  #chooseRegion(name: string | undefined): Region {
    const { regions } = this.#config;
    const names = regions.map((one) => one.name).join(", ");
    const [only, ...others] = regions;
    if (name === undefined && only !== undefined && others.length === 0) return only;
    if (name === undefined) throw fault("/region", `is required; there are ${names}`);
    const region = this.regionOf(name);
    if (region === null) throw fault("/region", `"${name}" is no region; there are ${names}`);
    return region;
  }
}

function engineIn({ name }: Region, report: DatedReport | undefined, engine: string): EngineReport {
  if (report === undefined) {
    throw new AppError(
      "unavailable",
      `no worker of the region ${name} has said yet what it can run: start one, or try again in a moment`,
      { details: { retryAfter: 5 } },
    );
  }
  const found = report.engines.find((one) => one.engine === engine);
  if (found !== undefined && found.versions.length > 0) return found;
  const missing = found?.missing ?? "its workers do not know it";
  throw fault("/engine", `${engine} cannot be run in the region ${name}: ${missing}`);
}

function chooseVersion(versions: readonly EngineVersion[], { engine, version }: Wish): string {
  const [newest] = versions;
  if (version === undefined && newest !== undefined) return newest.number;
  const found = versions.find(({ number }) => number === version);
  if (found !== undefined) return found.number;
  const numbers = versions.map(({ number }) => number).join(", ");
  throw fault(
    "/version",
    `"${version}" is no version of ${engine} that can be run here; there are ${numbers}`,
  );
}

function chooseExtras(provided: readonly string[], { engine, extras = [] }: Wish): readonly string[] {
  const wanted = [...new Set(extras)];
  const unknown = wanted.filter((extra) => !provided.includes(extra));
  if (unknown.length === 0) return wanted;
  const there = provided.length === 0 ? "there are none" : `there are ${provided.join(", ")}`;
  throw fault("/extras", `${unknown.join(", ")}: ${engine} cannot provide that here; ${there}`);
}

/** Throws where data does not fit into what a plan allows. */
export function requireRoom(plan: Plan, storageBytes: number | null): void {
  if (storageBytes === null || storageBytes <= plan.storageBytes) return;
  throw conflict(
    `the data takes ${storageBytes} bytes, and the plan ${plan.id} allows ${plan.storageBytes}: take a larger plan, or remove data`,
  );
}

function fault(path: string, message: string): AppError {
  const error: FieldError = { path, message };
  return invalid(`${path} ${message}`, [error]);
}

function newestFirst(a: string, b: string): number {
  return b.localeCompare(a, "en", { numeric: true });
}
