/** Servers as supervised processes on the machine of the region's workers. */
export interface ProcessSubstrate {
  readonly type: "process";
  /** Where the places of its deployments are; absolute. */
  readonly folder: string;
  /** Where the worker runs as root, each deployment has a system user of its own, from here on; null: unused ones. */
  readonly firstUid: number | null;
}

/** A named place where databases run. */
export interface Region {
  readonly name: string;
  readonly description: string;
  readonly substrate: ProcessSubstrate;
  /** The address that its servers listen on. */
  readonly host: string;
  /** What clients call that address. */
  readonly domainName: string;
  /** From which its servers have theirs, both ends included. */
  readonly ports: { readonly from: number; readonly to: number };
}
