import type { MasterKey } from "../../platform/crypto.js";
import { newSecret } from "../../platform/ids.js";

/** What opens a deployment's server. */
export interface DeploymentSecrets {
  /** The customer's, for the row's username. */
  readonly password: string;
  /** The worker's own: never leaves Gatehouse. */
  readonly adminSecret: string;
}

const KEY = "deployment-secrets" as const;

/** The customer's name at every server, the same everywhere: an exchanged address opens with the credentials that came with it. */
export const USERNAME = "app";

export function newSecrets(): DeploymentSecrets {
  return { password: newPassword(), adminSecret: newSecret() };
}

/** 256 random bits; stands in URLs as it is. */
export function newPassword(): string {
  return newSecret();
}

/** The columns of a deployment's row that stand for its secrets. */
export function sealSecrets(masterKey: MasterKey, deploymentId: string, secrets: DeploymentSecrets) {
  return {
    secrets: masterKey.encrypt(KEY, deploymentId, JSON.stringify(secrets)),
    keyId: masterKey.id,
  };
}

/** The secrets of a row, in clear. Throws where they are gone with the deployment. */
export function openSecrets(
  masterKey: MasterKey,
  row: { readonly id: string; readonly secrets: Uint8Array | null },
): DeploymentSecrets {
  if (row.secrets === null) throw new Error(`deployment ${row.id} has no secrets any more`);
  return JSON.parse(masterKey.decrypt(KEY, row.id, row.secrets).toString()) as DeploymentSecrets;
}

/** The secret part of an operation that changes the password. */
export function sealPassword(masterKey: MasterKey, operationId: string, password: string): Uint8Array {
  return masterKey.encrypt("operation-payloads", operationId, JSON.stringify({ password }));
}

/** The password that a `rotate-password` operation is to set: the same in every attempt. */
export function openPassword(
  masterKey: MasterKey,
  operation: { readonly id: string; readonly payloadSecrets: Uint8Array | null },
): string {
  if (operation.payloadSecrets === null) throw new Error(`operation ${operation.id} holds no password`);
  const opened = masterKey.decrypt("operation-payloads", operation.id, operation.payloadSecrets).toString();
  return (JSON.parse(opened) as { password: string }).password;
}
