import { v5 } from "uuid";
import { type MasterKey, sameBytes } from "../platform/crypto.js";
import { newId } from "../platform/ids.js";
import type { PrismaClient, PrismaTransaction } from "../platform/prisma.js";
import { createClient, hashedSecret } from "./clients.js";
import { hashesOf } from "./master-keys.js";
import { ALL_SCOPES } from "./scopes.js";
import { auditSystem } from "./system-audit.js";

/** The credentials that the operator set, and how those that are made up are told. */
export interface BootstrapOptions {
  readonly clientId?: string | null;
  readonly clientSecret?: string | null;
  /**
   * Tells the operator the made-up secret (prints it, once). It runs **before** the commit: when the process dies
   * in between, nothing was stored, and the next start makes and tells new ones. Told after the commit, such a
   * death would lock the operator out. When the commit fails after it was told, the last told secret counts.
   * Whoever lost it sets BOOTSTRAP_CLIENT_ID and BOOTSTRAP_CLIENT_SECRET and starts again.
   */
  readonly announce?: (credentials: BootstrapCredentials) => void | Promise<void>;
}

/** Made-up credentials of the administrator. */
export interface BootstrapCredentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

const LOCK_SPACE = 0x47415445;
const LOCK_BOOTSTRAP = 2;
/** Namespace of the ids of secrets that come from the environment: a later start finds the row again by it. */
const SECRET_NAMESPACE = "0190a3f0-6f2e-7c55-9d4b-2f6f1c1f7a10";

/**
 * Makes what an empty installation needs: the organization "default", its project "default" (number 1) and an
 * administrator client that may do everything. Safe to repeat and to run in several processes at once.
 *
 * With credentials from the environment that client exists afterwards and has that secret; a changed secret
 * replaces the one that came from the environment before (and ends the tokens issued under it), while secrets
 * added through the API live on. Scopes, projects and a disabled state that were changed since are kept.
 * Without, a client is made up where the installation has none at all.
 * @returns the credentials where they were made up, else null
 */
export async function bootstrap(
  prisma: PrismaClient,
  masterKey: MasterKey,
  options: BootstrapOptions = {},
): Promise<BootstrapCredentials | null> {
  const { clientId, clientSecret } = options;
  return prisma.$transaction(
    async (tx) => {
      await tx.$executeRaw`SELECT pg_advisory_xact_lock(${LOCK_SPACE}::int, ${LOCK_BOOTSTRAP}::int)`;
      const organizationId = await ensureOrganization(tx);
      if (typeof clientId === "string" && typeof clientSecret === "string") {
        await ensureGivenClient(tx, masterKey, organizationId, { clientId, clientSecret });
        return null;
      }
      if ((await tx.apiClient.count()) > 0) return null;
      const credentials = await createAdministrator(tx, masterKey, organizationId, {});
      await options.announce?.(credentials);
      return credentials;
    },
    { maxWait: 30_000, timeout: 30_000 },
  );
}

async function ensureOrganization(tx: PrismaTransaction): Promise<string> {
  // UUIDv7 ids are ordered by time: the first is the one that was made here.
  const first = await tx.organization.findFirst({ orderBy: { id: "asc" }, select: { id: true } });
  if (first !== null) return first.id;
  const id = newId();
  await tx.organization.create({ data: { id, name: "default" } });
  // Said outright: a start that was rolled back has drawn from the sequence, and the first project is number 1.
  await tx.project.create({
    data: { id: newId(), number: 1, organizationId: id, slug: "default", name: "Default" },
  });
  await tx.$executeRaw`SELECT setval(pg_get_serial_sequence('projects', 'number'), 1)`;
  return id;
}

async function createAdministrator(
  tx: PrismaTransaction,
  masterKey: MasterKey,
  organizationId: string,
  given: { clientId?: string; clientSecret?: string; secretId?: string },
): Promise<BootstrapCredentials> {
  const { id, clientId, clientSecret } = await createClient(tx, masterKey, {
    organizationId,
    name: "administrator",
    scopes: new Set(ALL_SCOPES),
    projects: "all",
    ...given,
  });
  await record(tx, organizationId, "client.create", { id, clientId });
  return { clientId, clientSecret };
}

async function ensureGivenClient(
  tx: PrismaTransaction,
  masterKey: MasterKey,
  organizationId: string,
  given: BootstrapCredentials,
): Promise<void> {
  const secretId = v5(given.clientId, SECRET_NAMESPACE);
  const client = await tx.apiClient.findUnique({
    where: { clientId: given.clientId },
    select: { id: true, organizationId: true, secrets: { where: { id: secretId } } },
  });
  if (client === null) {
    await createAdministrator(tx, masterKey, organizationId, { ...given, secretId });
    return;
  }
  const hashed = hashedSecret(masterKey, given.clientSecret);
  const former = client.secrets[0];
  const isFormer = ({ hash }: { readonly hash: Uint8Array }): boolean =>
    former !== undefined && sameBytes(former.hash, hash);
  if (former === undefined) {
    await tx.apiClientSecret.create({ data: { id: secretId, clientId: client.id, ...hashed } });
    await record(tx, client.organizationId, "client.secret.create", { ...given, id: client.id });
  } else if (
    former.expiresAt === null &&
    hashesOf(masterKey, "client-secrets", given.clientSecret).some(isFormer)
  ) {
    // The same secret; the master key may be another.
    if (!isFormer(hashed)) await tx.apiClientSecret.update({ where: { id: secretId }, data: hashed });
  } else {
    await tx.apiClientSecret.update({
      where: { id: secretId },
      data: { ...hashed, createdAt: new Date(), expiresAt: null, lastUsedAt: null },
    });
    await tx.apiClient.update({ where: { id: client.id }, data: { generation: { increment: 1 } } });
    await record(tx, client.organizationId, "client.secret.replace", { ...given, id: client.id });
  }
}

function record(
  tx: PrismaTransaction,
  organizationId: string,
  action: string,
  { id, clientId }: { readonly id: string; readonly clientId: string },
): Promise<void> {
  const target = { type: "client", id };
  return auditSystem(tx, "start of the installation", {
    action,
    target,
    details: { clientId },
    organizationId,
  });
}
