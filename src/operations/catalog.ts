/** What can be asked of workers, and within which bounds. */
export interface OperationKind {
  /** Seconds from the start of an attempt to its end by force. */
  readonly timeoutSeconds: number;
  /**
   * Claims before it is given up: of workers that died or slept, and of those that never heard that they have it, where
   * the connection broke at that moment.
   */
  readonly maxAttempts: number;
  readonly cancellable: boolean;
  /**
   * Lower runs earlier: what somebody waits for in a request comes first (below `URGENT`). Between organizations the
   * difference counts in places: 10 more is as far back as behind ten others of one's own.
   */
  readonly priority: number;
}

/** Below this priority somebody waits in a request: it takes none of its organization's slots. */
export const URGENT = 50;
/** Of those an organization has so many at work or on their way at once: all that it asks for come before anybody's work. */
export const URGENT_AT_ONCE = 4;
/** What schedules start comes behind what clients ask for. */
export const SCHEDULED_HANDICAP = 10;

const HOUR = 3_600;
const DAY = 86_400;

/** Of a deployment: how long it takes goes with the size of its data, or not. */
const long = { timeoutSeconds: DAY, maxAttempts: 20, priority: 100 } as const;
const short = { timeoutSeconds: HOUR, maxAttempts: 20, priority: 50 } as const;

export const CATALOG = {
  /** Executes a run of a BATCH job. */
  sync: { timeoutSeconds: DAY, maxAttempts: 20, cancellable: true, priority: 100 },
  /** Tests a connection, mostly for a request that waits. */
  check: { timeoutSeconds: 10, maxAttempts: 5, cancellable: true, priority: 10 },
  /** Lists the streams of a source, mostly for a request that waits. */
  discover: { timeoutSeconds: 10, maxAttempts: 5, cancellable: true, priority: 10 },
  /** Starts a database server of its own, the first time. */
  "deployment.create": { ...short, cancellable: true },
  /** Saves, stops the server, keeps the data. */
  "deployment.pause": { ...short, cancellable: false },
  /** Starts the server on the same address with the same data. */
  "deployment.resume": { ...short, cancellable: false },
  "deployment.restart": { ...short, cancellable: false },
  /** Makes a second deployment from a consistent copy while the first serves. */
  "deployment.clone": { ...long, cancellable: true },
  /** Stores a consistent copy. */
  "deployment.snapshot": { ...long, cancellable: true },
  /** Puts a stored copy in the place of the data. */
  "deployment.restore": { ...long, cancellable: true },
  /** The same with an archive that somebody sent. */
  "deployment.import": { ...long, cancellable: true },
  /** Makes an archive to be downloaded. */
  "deployment.export": { ...long, cancellable: true },
  /** Exchanges the addresses of two deployments. */
  "deployment.connection-url": { ...short, cancellable: false },
  "deployment.rotate-password": { ...short, cancellable: false },
  /** Changes the plan. */
  "deployment.resize": { ...short, cancellable: false },
  /** Stops the server and removes the data, after a last snapshot. */
  "deployment.terminate": { ...long, cancellable: false },
  /** Brings a server to where it should be; asked for by its region's supervisor. */
  "deployment.recover": { ...short, cancellable: false },
} as const satisfies Record<string, OperationKind>;

export type OperationType = keyof typeof CATALOG;
