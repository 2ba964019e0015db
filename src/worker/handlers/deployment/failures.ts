import { EngineError, type EngineErrorCode } from "../../../engines/engine.js";
import { FencedError } from "../../../engines/substrate.js";
import { LeaseLostError } from "../../../operations/ledger.js";
import { BlobError } from "../../../platform/blobs.js";
import { Interruption, OperationFailure, problem } from "../../handler.js";

const KINDS: Readonly<Record<EngineErrorCode, readonly [status: number, title: string]>> = {
  bad_archive: [422, "Archive cannot be used"],
  too_large: [422, "Archive is too large"],
  disk_full: [507, "Disk is full"],
  not_installed: [501, "Engine is not installed"],
  port_taken: [409, "Port is taken"],
  unavailable: [502, "Database does not answer"],
  busy: [409, "Database is busy"],
  failed: [500, "Database server failed"],
};

const BLOBS: Readonly<Record<BlobError["reason"], readonly [status: number, title: string]>> = {
  "too-large": [422, "Archive is too large"],
  missing: [404, "Archive is gone"],
  full: [507, "Disk is full"],
};

/** Attempts at a command whose server ended, or did not answer, in the midst of it: the next one starts it again. */
const TRIES = 3;

/** An engine's failure as an operation's error; a newer command at the place as a lost lease; anything else as it is. */
export function toFailure(error: unknown): unknown {
  if (error instanceof FencedError) return new LeaseLostError();
  if (error instanceof BlobError) {
    const [status, title] = BLOBS[error.reason];
    return new OperationFailure(problem(`archive-${error.reason}`, title, status, error.message), error);
  }
  if (!(error instanceof EngineError)) return error;
  const [status, title] = KINDS[error.code];
  const told = problem(error.code.replace("_", "-"), title, status, error.message);
  return error.code === "unavailable"
    ? new Interruption(told, TRIES, error)
    : new OperationFailure(told, error);
}

/** A command that cannot be done here, and why. */
export function impossible(code: string, title: string, detail: string): OperationFailure {
  return new OperationFailure(problem(code, title, 409, detail));
}
