import { createClient, hashedSecret } from "../../auth/clients.js";
import type { Scope } from "../../auth/scopes.js";
import type { Config } from "../../config.js";
import { MasterKey } from "../../platform/crypto.js";
import { newId, newSecret } from "../../platform/ids.js";
import { createPrisma, type PrismaTransaction } from "../../platform/prisma.js";
import { masterKeyMaterial } from "../../prepare.js";
import { DemoError } from "./api.js";

const CLIENT_ID = "gatehouse-demo";
const NAME = "demo";
/** After this the client is worth nothing until the next demo. */
const LIFETIME_MS = 3_600_000;

/** Just what the walk calls. */
const SCOPES: ReadonlySet<Scope> = new Set([
  "source:read",
  "source:write",
  "destination:read",
  "destination:write",
  "job:read",
  "job:write",
  "run:read",
  "operation:read",
]);

export interface Credentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

/**
 * A client of the demo's own, in the project "default" alone, that expires in an hour. It is made, or given a new
 * secret, in the database itself: no secret of anybody's is stored in clear, so there is none to be read.
 * @param adminUrl the superuser of the embedded server
 */
export async function ownClient(config: Config, adminUrl: URL): Promise<Credentials> {
  const masterKey = new MasterKey(await masterKeyMaterial(config));
  const controlPlane = new URL(adminUrl);
  controlPlane.pathname = "/gatehouse";
  const prisma = createPrisma(controlPlane.href, 1);
  try {
    return await prisma.$transaction((tx) => ensureClient(tx, masterKey));
  } finally {
    await prisma.$disconnect();
  }
}

async function ensureClient(tx: PrismaTransaction, masterKey: MasterKey): Promise<Credentials> {
  const project = await tx.project.findFirst({ where: { slug: "default" }, orderBy: { number: "asc" } });
  if (project === null) throw new DemoError('there is no project "default" for the demo to work in');
  const expiresAt = new Date(Date.now() + LIFETIME_MS);
  const known = await tx.apiClient.findUnique({ where: { clientId: CLIENT_ID } });
  if (known === null) {
    const { organizationId } = project;
    const projects = new Set([project.id]);
    return createClient(tx, masterKey, {
      ...{ organizationId, name: NAME, scopes: SCOPES, projects, expiresAt, clientId: CLIENT_ID },
    });
  }
  if (known.disabledAt !== null) {
    throw new DemoError(
      `the client ${CLIENT_ID} is disabled: enable it, or set CLIENT_ID and CLIENT_SECRET of another client`,
    );
  }
  const clientSecret = newSecret();
  await tx.apiClientSecret.deleteMany({ where: { clientId: known.id } });
  await tx.apiClientSecret.create({
    data: { id: newId(), clientId: known.id, ...hashedSecret(masterKey, clientSecret) },
  });
  // Tokens that were issued under the secret that is gone end with it.
  await tx.apiClient.update({
    where: { id: known.id },
    data: { expiresAt, scopes: [...SCOPES], generation: { increment: 1 } },
  });
  return { clientId: CLIENT_ID, clientSecret };
}
