import { type MasterKey, sameBytes } from "../../platform/crypto.js";
import { newSecret } from "../../platform/ids.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";

/** "GATE" and a number: first of the two halves of this project's advisory locks. */
const LOCK_SPACE = 0x47415445;
const LOCK_FIRST_SIGN_UP = 5;
/** Key in the table of settings. */
const SETTING = "first-sign-up";

/** What the setting holds. */
interface Stored {
  /** HMAC-SHA-256 of the token, base64. */
  readonly hash: string;
  /** The user that became owner; null: nobody did yet. */
  readonly usedBy: string | null;
}

/** Sign-ups that may be the first, and the making of the token, come one after another until the commit. */
export async function lockFirstSignUp(tx: PrismaTransaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(${LOCK_SPACE}::int, ${LOCK_FIRST_SIGN_UP}::int)`;
}

/**
 * Makes the token by which the first sign-up becomes owner from anywhere, once; where somebody owns the
 * installation already there is none. Whoever lost it signs up from the machine itself, or has an API client
 * create the user.
 * @param announce tells the operator. It runs before the commit, as that of `bootstrap` in auth/bootstrap.ts does:
 * a process that dies in between leaves no token that nobody knows.
 */
export async function ensureBootstrapToken(
  prisma: PrismaClient,
  masterKey: MasterKey,
  announce: (token: string) => void | Promise<void>,
): Promise<void> {
  await prisma.$transaction(
    async (tx) => {
      await lockFirstSignUp(tx);
      if ((await tx.setting.count({ where: { key: SETTING } })) > 0) return;
      if (await isOwned(tx)) return;
      const token = newSecret();
      const stored: Stored = { hash: base64(masterKey.hash("bootstrap", token)), usedBy: null };
      await tx.setting.create({ data: { key: SETTING, value: { ...stored } } });
      await announce(token);
    },
    { maxWait: 30_000, timeout: 30_000 },
  );
}

/** Whether nobody owns the installation yet, and a sign-up may change that. */
export interface FirstSignUp {
  readonly open: boolean;
  /** Whether a token is the one that was made at the first start. */
  accepts(token: string): boolean;
}

/** What holds now; under the lock, until the commit. */
export async function readFirstSignUp(prisma: PrismaTransaction, masterKey: MasterKey): Promise<FirstSignUp> {
  const setting = await prisma.setting.findUnique({ where: { key: SETTING } });
  const stored = setting === null ? null : (setting.value as unknown as Stored);
  const open = stored !== null && stored.usedBy === null && !(await isOwned(prisma));
  const hash = stored === null ? new Uint8Array() : Buffer.from(stored.hash, "base64");
  const accepts = (token: string): boolean =>
    masterKey.hashes("bootstrap", token.trim()).some((each) => sameBytes(hash, each)) && open;
  return { open, accepts };
}

/** Spends the token, whether or not it was used: there is one first sign-up. */
export async function closeFirstSignUp(tx: PrismaTransaction, userId: string): Promise<void> {
  const { value } = await tx.setting.findUniqueOrThrow({ where: { key: SETTING } });
  const stored: Stored = { ...(value as unknown as Stored), usedBy: userId };
  await tx.setting.update({ where: { key: SETTING }, data: { value: { ...stored } } });
}

/** The first organization: the one that was made with the installation. UUIDv7 ids are ordered by time. */
export async function defaultOrganizationId(prisma: PrismaTransaction): Promise<string> {
  const { id } = await prisma.organization.findFirstOrThrow({ orderBy: { id: "asc" }, select: { id: true } });
  return id;
}

/** Somebody who can create users is there, made by an API client or signed up. */
async function isOwned(prisma: PrismaTransaction): Promise<boolean> {
  const organizationId = await defaultOrganizationId(prisma);
  const found = await prisma.user.findFirst({
    where: { organizationId, role: { in: ["owner", "admin"] } },
    select: { id: true },
  });
  return found !== null;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
