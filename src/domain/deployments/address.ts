import type { Region } from "../../config/regions.js";
import type { MasterKey } from "../../platform/crypto.js";
import { conflict } from "../../platform/errors.js";
import type { Sql } from "../../platform/sql.js";
import { holdDeployments } from "./record.js";
import { openSecrets, sealSecrets } from "./secrets.js";

/** "PORT" as a number: one allocation at a time per region. */
const ADVISORY_LOCK = 0x504f5254;

const FREE_PORT = {
  name: "region_free_port",
  text: `SELECT min(p) AS port FROM generate_series($2::int, $3::int) AS p
         WHERE NOT p = ANY ($4::int[])
           AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.region = $1 AND d.port = p)
           AND NOT EXISTS (SELECT 1 FROM region_reports r WHERE r.region = $1 AND p = ANY (r.blocked_ports))`,
};

/** A port that no living deployment of the region has. Throws a conflict where there is none left. */
export async function allocatePort(tx: Sql, region: Region): Promise<number> {
  await lockRegion(tx, region);
  return freePort(tx, region, []);
}

/**
 * Another port for a deployment that could not be started because somebody else listens on its own.
 * @param taken that are known not to be free
 */
export async function moveToFreePort(
  tx: Sql,
  region: Region,
  deploymentId: string,
  taken: readonly number[],
): Promise<number> {
  await lockRegion(tx, region);
  const port = await freePort(tx, region, taken);
  await tx.run("UPDATE deployments SET port = $2, updated_at = now() WHERE id = $1", [deploymentId, port]);
  return port;
}

async function lockRegion(tx: Sql, region: Region): Promise<void> {
  await tx.rows("SELECT pg_advisory_xact_lock($1, hashtext($2))", [ADVISORY_LOCK, region.name]);
}

async function freePort(tx: Sql, { name, ports }: Region, taken: readonly number[]): Promise<number> {
  const [row] = await tx.rows<{ port: number | null }>(FREE_PORT, [name, ports.from, ports.to, taken]);
  if (typeof row?.port === "number") return row.port;
  throw conflict(
    `the region ${name} has no port left between ${ports.from} and ${ports.to}: terminate a database, or configure more`,
  );
}

const EXCHANGE = {
  name: "deployments_exchange",
  text: `UPDATE deployments d SET port = o.port, secrets = s.secrets, key_id = $4, exchanged_by = $3, updated_at = now()
         FROM deployments o, unnest($1::uuid[], $2::bytea[]) AS s(id, secrets)
         WHERE d.id = s.id AND o.id = ANY ($1::uuid[]) AND o.id <> d.id`,
};

/**
 * Exchanges the connection URLs of two deployments, whose servers are both stopped: port, and the password with it,
 * so that a client with an old URL gets in where it now leads. Both at once or not at all, and once per operation,
 * however often it is done again. What only the worker knows stays with its server.
 * @returns whether it was this call that did it
 */
export async function exchangeAddresses(
  tx: Sql,
  masterKey: MasterKey,
  operationId: string,
  ids: readonly [string, string],
): Promise<boolean> {
  const [first, second] = await holdDeployments(tx, ids);
  if (first === undefined || second === undefined) throw new Error("an address can be exchanged between two");
  const done = await tx.rows("SELECT 1 FROM deployments WHERE id = ANY ($1::uuid[]) AND exchanged_by = $2", [
    ids,
    operationId,
  ]);
  if (done.length > 0) return false;
  const [ofFirst, ofSecond] = [openSecrets(masterKey, first), openSecrets(masterKey, second)];
  const sealed = [
    sealSecrets(masterKey, first.id, { ...ofFirst, password: ofSecond.password }),
    sealSecrets(masterKey, second.id, { ...ofSecond, password: ofFirst.password }),
  ];
  await tx.run(EXCHANGE, [
    [first.id, second.id],
    sealed.map(({ secrets }) => Buffer.from(secrets)),
    operationId,
    masterKey.id,
  ]);
  return true;
}
