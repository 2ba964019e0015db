import type { Adapter, AdapterFactory, AdapterPayload } from "oidc-provider";
import type { Clock } from "../platform/clock.js";
import { newSecret } from "../platform/ids.js";
import type { AccessRecords } from "./access-records.js";
import { type ClientRecord, isUsable } from "./clients.js";

/**
 * What the provider wants to see as a client's secret, which is stored hashed only. It opens nothing: secrets
 * are compared by `compareClientSecret`, which never looks at it.
 */
const PLACEHOLDER = newSecret();

/**
 * The provider's storage. Clients are the project's own; self-contained tokens are not stored; the other models
 * belong to features that are switched off, and fail loudly where one is switched on without its storage.
 */
export function createAdapterFactory(records: AccessRecords, clock: Clock): AdapterFactory {
  return (model) => (model === "Client" ? new ClientAdapter(records, clock) : new NoStorage(model));
}

/** The client while it may get tokens. A failing look is repeated on fresh data: it may just have been enabled. */
export async function findUsable(
  records: AccessRecords,
  clock: Clock,
  clientId: string,
): Promise<ClientRecord | null> {
  const usable = (client: ClientRecord | null): client is ClientRecord =>
    client !== null && isUsable(client, clock.now().getTime());
  const known = records.get(clientId);
  const client = await known;
  if (usable(client)) return client;
  if (known instanceof Promise) return null;
  const fresh = await records.reload(clientId);
  return usable(fresh) ? fresh : null;
}

class NoStorage implements Adapter {
  readonly #model: string;

  constructor(model: string) {
    this.#model = model;
  }

  #refuse(): never {
    throw new Error(`${this.#model} has no storage`);
  }

  async find(_id: string): Promise<AdapterPayload | undefined> {
    return this.#refuse();
  }
  async findByUid(): Promise<undefined> {
    return this.#refuse();
  }
  async findByUserCode(): Promise<undefined> {
    return this.#refuse();
  }
  async upsert(): Promise<void> {
    this.#refuse();
  }
  async consume(): Promise<void> {
    this.#refuse();
  }
  async destroy(): Promise<void> {
    this.#refuse();
  }
  async revokeByGrantId(): Promise<void> {
    this.#refuse();
  }
}

/** Reads clients as the provider's metadata (RFC 7591 section 2). Which grants a client may use is checked later. */
class ClientAdapter extends NoStorage {
  readonly #records: AccessRecords;
  readonly #clock: Clock;

  constructor(records: AccessRecords, clock: Clock) {
    super("Client");
    this.#records = records;
    this.#clock = clock;
  }

  override async find(clientId: string): Promise<AdapterPayload | undefined> {
    const client = await findUsable(this.#records, this.#clock, clientId);
    return client === null ? undefined : { client_id: client.clientId, client_secret: PLACEHOLDER };
  }
}
