import { collectDefaultMetrics, Gauge, Registry } from "prom-client";

/** The metrics of one process; whoever has something to count registers it here. */
export type Metrics = Registry;

/**
 * Metrics of this process: memory, processor, event loop and garbage collection are there from the start.
 * @param version of the program, as a label of `gatehouse_info`
 */
export function createMetrics(version: string): Metrics {
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  new Gauge({
    name: "gatehouse_info",
    help: "Always 1; the label tells which version runs.",
    labelNames: ["version"],
    registers: [metrics],
  }).set({ version }, 1);
  return metrics;
}

/** A gauge whose value is looked up when it is asked for. */
export function gaugeOf(metrics: Metrics, name: string, help: string, value: () => number): void {
  new Gauge({
    name,
    help,
    registers: [metrics],
    collect() {
      this.set(value());
    },
  });
}

/** A gauge of what was measured; while nothing can be, it has no value. */
export function gaugeOfMeasured<Measured>(
  metrics: Metrics,
  name: string,
  help: string,
  measure: () => Promise<Measured | null>,
  value: (measured: Measured) => number,
): void {
  new Gauge({
    ...{ name, help, registers: [metrics] },
    async collect() {
      const measured = await measure();
      if (measured === null) this.remove();
      else this.set(value(measured));
    },
  });
}

/** As much of a connection pool as is shown. */
export interface PoolUse {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

/** Shows how the pools of database connections are used, by their names. */
export function watchPools(metrics: Metrics, pools: Readonly<Record<string, PoolUse>>): void {
  new Gauge({
    name: "gatehouse_database_connections",
    help: "Connections of this process to the database, by pool and by whether they are in use.",
    labelNames: ["pool", "state"],
    registers: [metrics],
    collect() {
      for (const [pool, { totalCount, idleCount }] of Object.entries(pools)) {
        this.set({ pool, state: "idle" }, idleCount);
        this.set({ pool, state: "used" }, totalCount - idleCount);
      }
    },
  });
  new Gauge({
    name: "gatehouse_database_connection_waiters",
    help: "Statements of this process that wait for a connection, by pool.",
    labelNames: ["pool"],
    registers: [metrics],
    collect() {
      for (const [pool, { waitingCount }] of Object.entries(pools)) this.set({ pool }, waitingCount);
    },
  });
}
