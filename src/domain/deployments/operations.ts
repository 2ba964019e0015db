import type { OperationType } from "../../operations/catalog.js";
import type { Command, DeploymentState } from "./state.js";

/** What an operation on deployments is about, and holds until it ends. */
export const DEPLOYMENT = "deployment";

export type DeploymentOperation = `deployment.${Command}`;

/** The type of the operation that does a command. */
export function operationOf(command: Command): DeploymentOperation & OperationType {
  return `deployment.${command}`;
}

/** The command that an operation does. */
export function commandOf(type: OperationType): Command {
  return type.slice("deployment.".length) as Command;
}

/** A deployment that an operation holds. */
export interface Target {
  readonly deploymentId: string;
  /** Of its commands, 1, 2, 3 ...: with the attempt the fence of every effect, the larger wins. */
  readonly command: number;
  /** In which the command began. */
  readonly before: DeploymentState;
}

/** What every operation on a deployment carries; its own part stands beside. */
export interface CommandPayload extends Target {
  /** The second deployment that it holds: the clone, or the one that addresses are exchanged with. */
  readonly other?: Target;
  readonly snapshotId?: string | null;
  readonly exportId?: string;
}

export type CreatePayload = Target;
export type PausePayload = Target;
export type ResumePayload = Target;

export interface RestartPayload extends Target {
  /** Also forget its failed starts. */
  readonly reset: boolean;
}

/** The deployment is the one that is copied; `other` is its clone, which is `creating`. */
export interface ClonePayload extends Target {
  readonly other: Target;
  /** Where the clone is in another region: that, and where the archive on its way there is in the blob store. */
  readonly region?: string;
  readonly upload?: { readonly blobKey: string };
}

export interface SnapshotPayload extends Target {
  /** Its row is `creating` and says where its archive goes. */
  readonly snapshotId: string;
}

export interface RestorePayload extends Target {
  /** Of this deployment or of another one of the same engine. */
  readonly snapshotId: string;
  /** The deployment that the snapshot is of. */
  readonly from: string;
}

export interface ImportPayload extends Target {
  /** In the blob store; removed some time after the operation's end. */
  readonly upload: { readonly blobKey: string; readonly bytes: number; readonly sha256: string };
}

export interface ExportPayload extends Target {
  readonly exportId: string;
}

export interface ExchangePayload extends Target {
  readonly other: Target;
}

/** The new password is in the operation's secrets: `openPassword`. */
export type RotatePayload = Target;

export interface ResizePayload extends Target {
  /** Name of the plan to come. */
  readonly plan: string;
}

export interface TerminatePayload extends Target {
  /** The last snapshot; null: none is wanted, or there is nothing to copy. */
  readonly snapshotId: string | null;
}

export type RecoverPayload = Target;

/** What a handler answers where it has stored an archive (snapshot, export, terminate). */
export interface ArchiveResult {
  readonly bytes: number;
  readonly sha256: string;
}

/** What any handler may tell besides. */
export interface CommandResult extends Partial<ArchiveResult> {
  /** What the data takes now. */
  readonly storageBytes?: number;
}

/** What each command's operation carries. */
export interface Payloads extends Readonly<Record<Command, CommandPayload>> {
  readonly create: CreatePayload;
  readonly pause: PausePayload;
  readonly resume: ResumePayload;
  readonly restart: RestartPayload;
  readonly clone: ClonePayload;
  readonly snapshot: SnapshotPayload;
  readonly restore: RestorePayload;
  readonly import: ImportPayload;
  readonly export: ExportPayload;
  readonly "connection-url": ExchangePayload;
  readonly "rotate-password": RotatePayload;
  readonly resize: ResizePayload;
  readonly terminate: TerminatePayload;
  readonly recover: RecoverPayload;
}
