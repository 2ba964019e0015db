import type { Belonging } from "../../operations/listing.js";

/** The operations of a run. */
export function ofRun(runId: string): Belonging {
  return {
    name: "run",
    where: (parameter) => `resource_type = 'run' AND resource_id = ${parameter}::uuid`,
    value: runId,
  };
}

/** The operations of a job and of its runs: whatever is asked for one of them says so in its payload. */
export function ofJob(jobId: string): Belonging {
  return { name: "job", where: (parameter) => `payload ->> 'jobId' = ${parameter}`, value: jobId };
}
