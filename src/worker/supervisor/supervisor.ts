import type { Health } from "../../domain/deployments/health.js";
import { recordHealth } from "../../domain/deployments/health.js";
import {
  type DeploymentRecord,
  livingAmong,
  livingDeployments,
  markOfLiving,
  type SupervisedDeployment,
} from "../../domain/deployments/record.js";
import { recordRegionReport, releaseRegionLease, takeRegionLease } from "../../domain/deployments/regions.js";
import { holdFor } from "../../domain/deployments/storage.js";
import { isTooLarge } from "../../engines/substrate.js";
import type { Logger } from "../../platform/logger.js";
import type { DeploymentDeps, Site } from "../handlers/deployment/deps.js";
import { clearLeftovers } from "./leftovers.js";
import { glance, type Subject, subjectOf } from "./look.js";
import { reportOf } from "./report.js";
import { inTurns } from "./turns.js";

/** How often what is looked at, milliseconds. */
export interface SupervisorTiming {
  /** Processes; the lease lives three times as long, and a second at least. */
  readonly roundMs: number;
  /** Whether servers answer, and what memory they take. */
  readonly healthMs: number;
  /** What data takes, what is left over, what the region can run. Data well below its limit: `SELDOM` times as long. */
  readonly surveyMs: number;
}

export const SUPERVISOR_TIMING: SupervisorTiming = { roundMs: 1_000, healthMs: 10_000, surveyMs: 60_000 };

export interface SupervisorDeps extends Pick<DeploymentDeps, "db" | "masterKey" | "planOf"> {
  readonly site: Site;
  /** Names this process. */
  readonly holder: string;
  readonly logger: Logger;
  readonly timing?: SupervisorTiming;
  /** Accepts an operation that brings a server to where it should be. */
  readonly recover: (deployment: DeploymentRecord, reason: string) => Promise<void>;
}

/** Answers that may be missed in a row before a server counts as stuck. */
const MISSES = 3;
/** What takes less than half of its storage is measured so much less often than what may soon be too large. */
const SELDOM = 5;
/** Servers that are asked at once. */
const AT_ONCE = 8;

/** What this supervisor remembers of a server. */
interface Memory {
  /** Its commands so far. */
  command: number;
  misses: number;
  /** Not to be asked before all the others are asked again. */
  asked: boolean;
  nextSizeAt: number;
  /** It was seen running by this process: a stop after that is an incident, one before is a restart of the machine. */
  seen: boolean;
}

/**
 * Watches the servers of one region: one process at a time, under a lease. It observes, and asks for operations: what
 * has to be done to a server is done by their handlers, under the ledger's locks and fences.
 */
export class Supervisor {
  readonly #deps: SupervisorDeps;
  readonly #timing: SupervisorTiming;
  readonly #memories = new Map<string, Memory>();
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #round: Promise<void> | null = null;
  #nextSurveyAt = 0;
  #nextHealthAt = 0;
  #term: number | null = null;
  /** Of the deployments that were read last; null: they have to be read again. */
  #mark: string | null = null;
  #subjects: readonly Subject[] = [];

  constructor(deps: SupervisorDeps) {
    this.#deps = deps;
    this.#timing = deps.timing ?? SUPERVISOR_TIMING;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.round(), this.#timing.roundMs);
    void this.round();
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#stop.abort();
    await this.#round;
    const { db, site, holder, logger } = this.#deps;
    await releaseRegionLease(db, site.region.name, holder).catch((error: unknown) =>
      logger.debug({ err: error }, "the lease of a region runs out by itself"),
    );
  }

  /** One at a time; never rejects. */
  round(): Promise<void> {
    this.#round ??= this.#look()
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) {
          this.#deps.logger.warn({ err: error, region: this.#name }, "a region could not be looked after");
        }
      })
      .finally(() => {
        this.#round = null;
      });
    return this.#round;
  }

  get #name(): string {
    return this.#deps.site.region.name;
  }

  async #look(): Promise<void> {
    const { db, holder, site } = this.#deps;
    const leaseMs = Math.max(1_000, 3 * this.#timing.roundMs);
    const term = await takeRegionLease(db, this.#name, holder, leaseMs);
    if (term !== this.#term) {
      // What another process has seen meanwhile is not known here.
      this.#memories.clear();
      this.#nextSurveyAt = 0;
      this.#mark = null;
      this.#term = term;
    }
    if (term === null) return;
    const now = performance.now();
    const [survey, health] = [now >= this.#nextSurveyAt, now >= this.#nextHealthAt];
    const mark = await markOfLiving(db, this.#name);
    if (!survey && !health && mark === this.#mark && (await this.#isQuiet())) return;
    // Until this round has come to its end, the next one looks at everything too.
    this.#mark = null;
    const deployments = await livingDeployments(db, this.#name);
    this.#forgetAllBut(deployments);
    for (const deployment of deployments) this.#remind(deployment, health);
    // Not before they were read: what could not be is tried again in the next round.
    if (survey) this.#nextSurveyAt = now + this.#timing.surveyMs;
    if (health) this.#nextHealthAt = now + this.#timing.healthMs;
    const idle = deployments.filter(({ operationId }) => operationId === null);
    const subjects = idle.flatMap((deployment) => subjectOf(this.#deps, site, deployment) ?? []);
    const found: Health[] = [];
    await inTurns(subjects, AT_ONCE, async (subject) => {
      const seen = await this.#lookAt(subject);
      if (seen !== null) found.push(seen);
    });
    await recordHealth(db, found);
    if (survey) await this.#survey(deployments);
    this.#subjects = subjects;
    if (idle.every(({ id }) => this.#memoryOf(id).misses === 0)) this.#mark = mark;
  }

  /** What a command has done is looked at after it, however short it was. */
  #remind({ id, operationId, commandCount }: SupervisedDeployment, health: boolean): void {
    const memory = this.#memoryOf(id);
    const wasChanged = operationId !== null || commandCount !== memory.command;
    if (health || wasChanged) memory.asked = false;
    if (wasChanged) memory.nextSizeAt = 0;
    memory.command = commandCount;
  }

  /** By what was read last: most rounds find nothing else. */
  async #isQuiet(): Promise<boolean> {
    for (const subject of this.#subjects) if ((await glance(subject)) !== "as it should be") return false;
    return true;
  }

  /** What is new to be written down; null: nothing. */
  async #lookAt(subject: Subject): Promise<Health | null> {
    const { deployment } = subject;
    const memory = this.#memoryOf(deployment.id);
    const finding = await glance(subject);
    if (finding === "up") {
      await this.#ask(deployment, "it runs and should not");
      return null;
    }
    if (deployment.desiredState !== "running") return null;
    if (finding === "down") {
      const wasSeen = memory.seen;
      await this.#ask(deployment, wasSeen ? "its server has ended" : "its server does not run");
      return wasSeen ? unhealthy(deployment) : null;
    }
    memory.seen = true;
    const health = await this.#ifItAnswers(subject, memory);
    if (performance.now() < memory.nextSizeAt || health?.status === "unhealthy") return health;
    return this.#withStorage(subject, memory, health);
  }

  async #ifItAnswers(subject: Subject, memory: Memory): Promise<Health | null> {
    const { deployment, engine, place, observe } = subject;
    if (memory.asked) return null;
    memory.asked = true;
    if (await isTooLarge(place)) {
      await this.#ask(deployment, "its processes take more memory than they may");
      return unhealthy(deployment);
    }
    const { status, detail } = await engine.health(observe(), this.#stop.signal);
    if (status === "healthy") {
      memory.misses = 0;
      return { deploymentId: deployment.id, status, storageBytes: null };
    }
    // One that loads its data answers later.
    if (status !== "failed") return null;
    memory.misses += 1;
    // The next look comes soon: is it stuck, or was it busy?
    memory.asked = false;
    if (memory.misses < MISSES) return null;
    await this.#ask(deployment, detail ?? "it does not answer");
    return unhealthy(deployment);
  }

  async #withStorage({ deployment, place }: Subject, memory: Memory, health: Health | null): Promise<Health> {
    const storageBytes = await place.size(this.#stop.signal);
    const limit = place.limits.storageBytes;
    const times = storageBytes < limit / 2 ? SELDOM : 1;
    memory.nextSizeAt = performance.now() + times * this.#timing.surveyMs;
    const hold = holdFor(storageBytes, limit, deployment.storageHold);
    if (hold !== deployment.storageHold) await this.#ask(deployment, `its data takes ${storageBytes} bytes`);
    const status = health?.status ?? deployment.healthStatus ?? "healthy";
    return { deploymentId: deployment.id, status, storageBytes };
  }

  /** With a growing pause between tries that fail. */
  async #ask(deployment: SupervisedDeployment, reason: string): Promise<void> {
    const { nextTryAt } = deployment;
    if (nextTryAt !== null && nextTryAt.getTime() > Date.now()) return;
    const { logger, recover } = this.#deps;
    logger.warn({ deploymentId: deployment.id, region: this.#name, reason }, "a server is to be put right");
    this.#memoryOf(deployment.id).misses = 0;
    await recover(deployment, reason);
  }

  async #survey(deployments: readonly SupervisedDeployment[]): Promise<void> {
    const { db, site, holder, logger } = this.#deps;
    const { signal } = this.#stop;
    const used = new Set(deployments.flatMap(({ port }) => port ?? []));
    await recordRegionReport(db, await reportOf(site, used, holder));
    const cleared = await clearLeftovers(site, (ids) => livingAmong(db, ids), signal);
    if (cleared.length > 0) logger.info({ region: this.#name, cleared }, "cleared what was left over");
  }

  #memoryOf(id: string): Memory {
    const memory = this.#memories.get(id) ?? {
      command: 0,
      misses: 0,
      asked: false,
      nextSizeAt: 0,
      seen: false,
    };
    this.#memories.set(id, memory);
    return memory;
  }

  #forgetAllBut(deployments: readonly SupervisedDeployment[]): void {
    const living = new Set(deployments.map(({ id }) => id));
    for (const id of this.#memories.keys()) if (!living.has(id)) this.#memories.delete(id);
  }
}

function unhealthy({ id }: SupervisedDeployment): Health {
  return { deploymentId: id, status: "unhealthy", storageBytes: null };
}
