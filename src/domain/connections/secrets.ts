import type { MasterKey } from "../../platform/crypto.js";
import type { Connection as Row } from "../../platform/generated/client.js";
import { type Config, type ConnectorSpec, splitSecrets } from "./config.js";

const KEY = "connection-secrets" as const;

/** The columns of a connection's row that stand for its configuration: secret fields are encrypted. */
export function sealConfig(masterKey: MasterKey, id: string, spec: ConnectorSpec, config: Config) {
  const { open, secret } = splitSecrets(spec, config);
  const secrets =
    Object.keys(secret).length === 0 ? null : masterKey.encrypt(KEY, id, JSON.stringify(secret));
  return { config: open as object, secrets, keyId: secrets === null ? null : masterKey.id };
}

/** The configuration of a row, secrets in clear. */
export function openConfig(masterKey: MasterKey, row: Row): Config {
  const open = row.config as Record<string, unknown>;
  if (row.secrets === null) return open;
  const secret = JSON.parse(masterKey.decrypt(KEY, row.id, row.secrets).toString()) as Config;
  return { ...open, ...secret };
}
