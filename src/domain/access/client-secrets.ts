import { hashedSecret } from "../../auth/clients.js";
import type { Principal } from "../../auth/principal.js";
import { conflict, notFound } from "../../platform/errors.js";
import { newId, newSecret, parseId } from "../../platform/ids.js";
import type { PrismaTransaction } from "../../platform/prisma.js";
import { CLIENT_VIEW, type ClientView, lockClient, type SecretView, toClientView } from "./client-view.js";
import { bumpIf, type ClientDeps, recordClient } from "./clients.js";
import { GRACE, MAX_LIVE_SECRETS } from "./limits.js";

/** A secret that was made: the only time that it is seen. */
export interface CreatedSecret {
  readonly client: ClientView;
  readonly secret: SecretView;
  readonly clientSecret: string;
}

/** The secrets of API clients: how one is exchanged for another while the client goes on working. */
export class ClientSecrets {
  readonly #deps: ClientDeps;

  constructor(deps: ClientDeps) {
    this.#deps = deps;
  }

  /**
   * Adds a secret; the one before lives on for a time of grace. Refused while two are live already.
   * @param graceSeconds 0: the one before is gone at once, and with it the tokens issued so far
   */
  async add(
    principal: Principal,
    reference: string,
    graceSeconds: number = GRACE.default,
  ): Promise<CreatedSecret> {
    const now = this.#deps.clock.now();
    return this.#change(async (tx) => {
      const client = await lockSecretClient(tx, principal, reference);
      const live = client.secrets.filter(({ expiresAt }) => expiresAt === null || expiresAt > now);
      if (live.length >= MAX_LIVE_SECRETS) {
        const ids = live.map(({ id }) => id).join(", ");
        throw conflict(`the client has two live secrets (${ids}): remove one of them first`);
      }
      const kept = graceSeconds === 0 ? [] : live;
      await tx.apiClientSecret.deleteMany({
        where: { clientId: client.id, id: { notIn: kept.map(({ id }) => id) } },
      });
      const end = new Date(now.getTime() + graceSeconds * 1_000);
      await tx.apiClientSecret.updateMany({
        // One that ends sooner keeps its end.
        where: { clientId: client.id, OR: [{ expiresAt: null }, { expiresAt: { gt: end } }] },
        data: { expiresAt: end },
      });
      return this.#create(tx, principal, client, kept.length < live.length);
    });
  }

  /** Exchanges all secrets for a new one, at once: for when the old one is lost, or known to others. */
  async replace(principal: Principal, reference: string): Promise<CreatedSecret> {
    return this.#change(async (tx) => {
      const client = await lockSecretClient(tx, principal, reference);
      await tx.apiClientSecret.deleteMany({ where: { clientId: client.id } });
      return this.#create(tx, principal, client, true);
    });
  }

  /** Removes a secret, and with it the tokens that were issued so far. */
  async remove(principal: Principal, reference: string, secretId: string): Promise<void> {
    const id = parseId(secretId);
    if (id === null) throw notFound("secret");
    await this.#change(async (tx) => {
      const client = await lockClient(tx, principal, reference);
      const { count } = await tx.apiClientSecret.deleteMany({ where: { clientId: client.id, id } });
      if (count === 0) throw notFound("secret");
      await tx.apiClient.update({ where: { id: client.id }, data: bumpIf(true) });
      await recordClient(tx, principal, "client.secret.delete", client, { secretId: id });
      return { client };
    });
  }

  async #change<T extends { readonly client: ClientView }>(
    work: (tx: PrismaTransaction) => Promise<T>,
  ): Promise<T> {
    const result = await this.#deps.prisma.$transaction(work);
    this.#deps.changed(result.client.clientId);
    return result;
  }

  async #create(
    tx: PrismaTransaction,
    principal: Principal,
    { id }: ClientView,
    narrowed: boolean,
  ): Promise<CreatedSecret> {
    const secretId = newId();
    const clientSecret = newSecret();
    const row = await tx.apiClient.update({
      where: { id },
      data: {
        secrets: { create: { id: secretId, ...hashedSecret(this.#deps.masterKey, clientSecret) } },
        ...bumpIf(narrowed),
      },
      include: CLIENT_VIEW,
    });
    const client = toClientView(row);
    const secret = client.secrets.find((one) => one.id === secretId);
    if (secret === undefined) throw new Error("the secret that was just made is not there");
    await recordClient(tx, principal, "client.secret.create", client, { secretId, narrowed });
    return { client, secret, clientSecret };
  }
}

async function lockSecretClient(
  tx: PrismaTransaction,
  principal: Principal,
  reference: string,
): Promise<ClientView> {
  const client = await lockClient(tx, principal, reference);
  if (client.jwks === null) return client;
  throw conflict("the client authenticates by its own keys (jwks): it has no secrets");
}
