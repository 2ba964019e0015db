import {
  type ConnectorContext,
  ConnectorError,
  type DestinationWriter,
  type Encoding,
  type Fence,
  FencedError,
  InDoubtError,
  type Stream,
  type StreamData,
  type StreamResult,
} from "../connector.js";
import type { Session } from "./client.js";
import { explain, isDisconnect, type Place } from "./errors.js";
import { qualified, stagingTable, targetTable } from "./names.js";
import { fillStaging, type Staged } from "./staging.js";
import { type JobState, type OwnedTable, StateTable } from "./state.js";
import { putInPlace } from "./swap.js";
import { ownTable } from "./table.js";

/** What a writer works with. */
interface WriterParts {
  readonly session: Session;
  /** Another session like it, for when it is broken. */
  readonly dial: (signal: AbortSignal) => Promise<Session>;
  readonly place: Place;
  readonly schema: string;
  readonly fence: Fence;
  readonly context: ConnectorContext;
  readonly states: StateTable;
}

const CLEAN_UP_MS = 10_000;

/** Stages streams table by table and puts all of them in place in one transaction. */
export class Writer implements DestinationWriter {
  readonly encodings: readonly Encoding[] = ["pgcopy", "rows"];
  readonly committed: ReadonlyMap<string, StreamResult> | null;
  readonly #parts: WriterParts;
  /** By target table; null while it is being written, or where that failed. */
  readonly #staged = new Map<string, Staged | null>();
  #done: boolean;

  constructor(parts: WriterParts, state: JobState) {
    this.#parts = parts;
    this.#done = state.committedRun === parts.fence.run;
    this.committed = this.#done ? new Map(Object.entries(state.results)) : null;
  }

  async write(
    stream: Stream,
    data: StreamData,
    onProgress: (soFar: StreamResult) => void,
  ): Promise<StreamResult> {
    if (this.#done) throw new Error(`run ${this.#parts.fence.run} is committed, nothing more can be written`);
    const table = targetTable(stream);
    this.#claim(table, stream);
    try {
      const staged = await this.#stage(table, stream, data, onProgress);
      this.#staged.set(table, staged);
      return staged.result;
    } catch (error) {
      throw this.#explain(error, stream.name);
    }
  }

  #claim(table: string, stream: Stream): void {
    if (!this.#staged.has(table)) {
      this.#staged.set(table, null);
      return;
    }
    throw new ConnectorError(
      "invalid_config",
      `stream "${stream.name}": another stream of this run is written to the same table ${table} already`,
      { details: { stream: stream.name, table } },
    );
  }

  /**
   * One transaction: until it commits nobody sees the staging table, and it commits only while this is still the
   * newest writer, so that an overtaken one leaves nothing behind. The lock for that is taken at the end: held
   * while rows are copied, it would keep a newer attempt waiting for a process that may be stopped.
   */
  async #stage(
    table: string,
    stream: Stream,
    data: StreamData,
    onProgress: (soFar: StreamResult) => void,
  ): Promise<Staged> {
    const { session, states, schema, fence } = this.#parts;
    return session.transaction(async () => {
      const state = await states.verify("");
      await ownTable(session, states, state, schema, table);
      const names = { table, staging: stagingTable(fence, table) };
      const staged = await fillStaging(session, schema, names, stream, data, onProgress);
      await states.verify("FOR SHARE");
      return staged;
    });
  }

  async commit(): Promise<void> {
    if (this.#done) return;
    const { session, context } = this.#parts;
    const at: { stream?: string } = {};
    try {
      await session.transaction(() => this.#putAllInPlace(at));
    } catch (error) {
      if (!isDisconnect(error)) throw this.#explain(error, at.stream);
      // Nobody waits for this attempt any more: what became of it is for the next one to find out.
      if (context.signal.aborted) throw new InDoubtError(context.signal.reason);
      if (!(await this.#wasCommitted(error))) throw this.#explain(error, at.stream);
    }
    this.#done = true;
  }

  async #putAllInPlace(at: { stream?: string }): Promise<void> {
    const { session, states, schema, fence, context } = this.#parts;
    const state = await states.verify("FOR UPDATE");
    if (state.committedRun === fence.run) return;
    const results = new Map<string, StreamResult>();
    const tables = new Map<string, OwnedTable>(Object.entries(state.tables));
    for (const [table, staged] of this.#staged) {
      if (staged === null) throw new Error(`table ${table} was not written to its end`);
      at.stream = staged.stream.name;
      await this.#lock(state, table);
      const target = await ownTable(session, states, state, schema, table);
      const log = (message: string) => context.log("info", message);
      tables.set(table, await putInPlace({ session, schema, staged, target, log }));
      results.set(staged.stream.name, staged.result);
    }
    await states.save(Object.fromEntries(results), Object.fromEntries(tables));
  }

  /** Nothing about the target can change from here on. */
  async #lock(state: JobState, table: string): Promise<void> {
    const { session, states, schema } = this.#parts;
    if ((await ownTable(session, states, state, schema, table)) === null) return;
    await session.run(`LOCK TABLE ${qualified(schema, table)} IN ACCESS EXCLUSIVE MODE`);
  }

  /**
   * Whether the commit took place although its answer was lost with the connection; FencedError where overtaken,
   * InDoubtError where the server cannot be asked.
   */
  async #wasCommitted(lost: unknown): Promise<boolean> {
    const { fence, schema } = this.#parts;
    try {
      return await this.#withFreshSession(async (session) => {
        // The lock waits until the server is through with the lost connection, one way or the other.
        const state = await new StateTable(session, schema, fence).verify("FOR UPDATE");
        return state.committedRun === fence.run;
      });
    } catch (error) {
      if (error instanceof FencedError) throw error;
      throw new InDoubtError(this.#explain(lost, undefined));
    }
  }

  async #withFreshSession<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#parts.dial(AbortSignal.timeout(CLEAN_UP_MS));
    try {
      return await work(session);
    } finally {
      await session.close();
    }
  }

  async close(): Promise<void> {
    const { session, context } = this.#parts;
    try {
      // Where a write broke off, its table may be there all the same.
      if (!this.#done && this.#staged.size > 0) await this.#removeStaged();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (!(error instanceof FencedError))
        context.log("warn", `staging tables could not be removed, the next attempt will: ${why}`);
    } finally {
      await session.close();
    }
  }

  /**
   * Takes the destination once more, which waits until the server is through with what a lost connection had asked for
   * last, a COMMIT perhaps; FencedError where a newer writer has removed them.
   */
  async #removeStaged(): Promise<void> {
    const { session, states, fence, schema } = this.#parts;
    const takeAgain = () => this.#withFreshSession((fresh) => new StateTable(fresh, schema, fence).take());
    if (!session.usable) await takeAgain();
    else
      await states.take().catch((error: unknown) => {
        if (error instanceof FencedError) throw error;
        return takeAgain();
      });
  }

  #explain(error: unknown, stream: string | undefined): unknown {
    const { place, context } = this.#parts;
    return explain(error, stream === undefined ? place : { ...place, stream }, context.signal);
  }
}
