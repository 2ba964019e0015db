import type Provider from "oidc-provider";
import type { Adapter, AdapterFactory, AdapterPayload, JWKS } from "oidc-provider";
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

type Client = InstanceType<Provider["Client"]>;

/**
 * Has a provider keep what it made of a client for as long as the client's record stays what it is. By itself it
 * prints and hashes the metadata each time, and knows a hundred clients at most: of any more it makes each anew, per
 * request.
 */
export function rememberClients(provider: Provider, records: AccessRecords, clock: Clock): void {
  const made = new WeakMap<ClientRecord, Client>();
  const find = provider.Client.find.bind(provider.Client);
  provider.Client.find = async (clientId) => {
    const record = inMemory(records, clientId);
    // Whoever is not known, or not usable, is looked for in the database.
    if (!isUsableNow(record, clock)) return find(clientId);
    const known = made.get(record);
    if (known !== undefined) return known;
    const client = await find(clientId);
    // Made of the same record, where that is still the client's.
    if (client !== undefined && inMemory(records, clientId) === record) made.set(record, client);
    return client;
  };
}

/** Null where memory does not say: whoever asks next gets the answer that is under way, and its failure. */
function inMemory(records: AccessRecords, clientId: string): ClientRecord | null {
  const record = records.get(clientId);
  if (!(record instanceof Promise)) return record;
  record.catch(() => {});
  return null;
}

function isUsableNow(client: ClientRecord | null, clock: Clock): client is ClientRecord {
  return client !== null && isUsable(client, clock.now().getTime());
}

function toMetadata({ clientId, jwks }: ClientRecord): AdapterPayload {
  const metadata = { client_id: clientId, client_secret: PLACEHOLDER };
  return jwks === null ? metadata : { ...metadata, jwks: jwks as JWKS };
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

  override find(clientId: string): Promise<AdapterPayload | undefined> {
    const known = this.#records.get(clientId);
    if (!(known instanceof Promise) && isUsableNow(known, this.#clock))
      return Promise.resolve(toMetadata(known));
    // A failing look is repeated on fresh data: the client may just have been enabled.
    const fresh = known instanceof Promise ? known : this.#records.reload(clientId);
    return fresh.then((client) => (isUsableNow(client, this.#clock) ? toMetadata(client) : undefined));
  }
}
