import { lookup as dnsLookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { ConnectorError } from "./connector.js";

export interface Address {
  readonly address: string;
  readonly family: 4 | 6;
}

/** A place that no connector may reach, whatever the operator allows: the control plane's database and queue. */
export interface ForbiddenAddress {
  readonly host: string;
  readonly port: number;
  /** Only this database of the server; absent: the whole server. */
  readonly database?: string;
}

export interface OutboundOptions {
  /** `loopback`, `private`, `link-local`, networks in CIDR form or single addresses. */
  readonly allow: readonly string[];
  readonly forbidden: readonly ForbiddenAddress[];
  /** Every address of a name; the system's resolver unless told otherwise. */
  readonly lookup?: (host: string) => Promise<readonly { readonly address: string }[]>;
  /** The addresses of this machine's interfaces; the system's unless told otherwise. */
  readonly localAddresses?: () => readonly string[];
}

/** Decides which addresses connectors may reach. */
export interface OutboundPolicy {
  /**
   * The address to connect to. Connect to what this gives and not to the name, else the name could resolve
   * differently the second time. Throws a ConnectorError where the name is unknown or an address is refused.
   * @param database where the target is a database server: the database of it that is meant
   */
  resolve(host: string, port: number, database?: string): Promise<Address>;
}

/**
 * Networks that are not the public internet, by the word that allows them. Those of `special` have no word and
 * need their CIDR. https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry
 */
const NETWORKS = {
  loopback: ["127.0.0.0/8", "::1/128"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
  "link-local": ["169.254.0.0/16", "fe80::/10"],
  special: [
    "0.0.0.0/8",
    "100.64.0.0/10",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fec0::/10",
    "ff00::/8",
  ],
} as const;

type Kind = keyof typeof NETWORKS;

/** How a refused address is described to the user. */
const KIND_TEXT: Readonly<Record<Kind, string>> = {
  loopback: "a loopback address",
  private: "a private address",
  "link-local": "a link-local address",
  special: "a reserved address",
};

/** In the order of the check: ::1 is loopback before it is part of ::/96. */
const KINDS: readonly Kind[] = ["loopback", "private", "link-local", "special"];

/** The one policy for outbound addresses. Throws where `allow` has an entry that is neither a word nor a network. */
export function createOutboundPolicy(options: OutboundOptions): OutboundPolicy {
  return new Policy(options);
}

class Policy implements OutboundPolicy {
  readonly #allowed: BlockList;
  readonly #byKind = new Map<Kind, BlockList>();
  readonly #forbidden: readonly ForbiddenAddress[];
  readonly #lookup: (host: string) => Promise<readonly { readonly address: string }[]>;
  readonly #localAddresses: () => readonly string[];

  constructor(options: OutboundOptions) {
    this.#allowed = blockList(options.allow.flatMap(networksOf));
    for (const kind of KINDS) this.#byKind.set(kind, blockList(NETWORKS[kind]));
    this.#forbidden = options.forbidden;
    this.#lookup = options.lookup ?? systemLookup;
    this.#localAddresses = options.localAddresses ?? interfaceAddresses;
  }

  async resolve(host: string, port: number, database?: string): Promise<Address> {
    const name = hostName(host);
    const addresses = await this.#addresses(name);
    for (const { address, family } of addresses) this.#check(name, address, family);
    await this.#refuseForbidden(name, addresses, port, database);
    // IPv4 first: `localhost` often resolves to ::1 as well, where few servers listen.
    const first = addresses.find(({ family }) => family === 4) ?? addresses[0];
    if (first === undefined) throw unknownHost(name, "no address");
    return first;
  }

  async #addresses(name: string): Promise<Address[]> {
    if (isIP(name) !== 0) return [canonical(name)];
    let found: readonly { readonly address: string }[];
    try {
      found = await this.#lookup(name);
    } catch (error) {
      throw unknownHost(name, error instanceof Error && "code" in error ? String(error.code) : "", error);
    }
    return found.map(({ address }) => canonical(address));
  }

  #check(name: string, address: string, family: 4 | 6): void {
    const type = family === 4 ? "ipv4" : "ipv6";
    const kind = KINDS.find((each) => this.#byKind.get(each)?.check(address, type));
    if (kind === undefined || this.#allowed.check(address, type)) return;
    const subject = name === address ? address : `${name} (${address})`;
    const allow = kind === "special" ? `${address}/${family === 4 ? 32 : 128}` : kind;
    throw new ConnectorError(
      "invalid_config",
      `${subject} is ${KIND_TEXT[kind]}, which connections may not reach here; the operator can allow it with OUTBOUND_ALLOW=${allow}`,
      { details: { host: name, address } },
    );
  }

  async #refuseForbidden(
    name: string,
    addresses: readonly Address[],
    port: number,
    database: string | undefined,
  ): Promise<void> {
    for (const target of this.#forbidden) {
      if (target.port !== port) continue;
      if (target.database !== undefined && database !== undefined && target.database !== database) continue;
      if (!(await this.#isSameHost(name, addresses, target.host))) continue;
      const what = target.database === undefined ? "" : ` (database ${target.database})`;
      throw new ConnectorError(
        "invalid_config",
        `${name}:${port}${what} belongs to Gatehouse itself and cannot be used in a connection`,
        { details: { host: name, port } },
      );
    }
  }

  async #isSameHost(name: string, addresses: readonly Address[], forbiddenHost: string): Promise<boolean> {
    const forbiddenName = hostName(forbiddenHost);
    if (forbiddenName === name) return true;
    // Where it does not resolve now, nobody can reach it under another name's address either.
    const known = await this.#addresses(forbiddenName).catch(() => []);
    const local = this.#localTest();
    const forbiddenIsLocal = known.some(local);
    return addresses.some(
      (one) => known.some(({ address }) => address === one.address) || (forbiddenIsLocal && local(one)),
    );
  }

  /** Whether an address is this machine: 127.0.0.2 or the LAN address may reach what listens on 127.0.0.1. */
  #localTest(): (address: Address) => boolean {
    const own = new Set(this.#localAddresses().map((address) => canonical(address).address));
    const loopback = this.#byKind.get("loopback");
    return ({ address, family }) =>
      own.has(address) ||
      address === "0.0.0.0" ||
      address === "::" ||
      loopback?.check(address, family === 4 ? "ipv4" : "ipv6") === true;
  }
}

async function systemLookup(host: string): Promise<readonly { readonly address: string }[]> {
  return dnsLookup(host, { all: true, verbatim: true });
}

function interfaceAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address));
}

function unknownHost(name: string, reason: string, cause?: unknown): ConnectorError {
  const why = reason === "" ? "" : ` (${reason})`;
  return new ConnectorError("unreachable", `the host ${name} is not known${why}`, {
    details: { host: name },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Without the brackets of a URL and the dot of a full name, in lower case. */
function hostName(host: string): string {
  const name = host
    .trim()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "")
    .toLowerCase();
  if (name === "" || name.includes("/") || name.includes("\0")) {
    throw new ConnectorError("invalid_config", "the host must be a name or an address", {
      details: { host },
    });
  }
  return name;
}

/**
 * The one spelling of an address. An IPv4 address mapped into IPv6 (RFC 4291 section 2.5.5.2) becomes that
 * IPv4 address, because that is what is connected to.
 */
function canonical(address: string): Address {
  if (isIP(address) === 4) return { address, family: 4 };
  // A zone says which interface, which is no matter of the policy's.
  const plain = address.replace(/%.*$/, "");
  const short = new URL(`http://[${plain}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (mapped === null) return { address: short, family: 6 };
  const high = Number.parseInt(mapped[1] ?? "0", 16);
  const low = Number.parseInt(mapped[2] ?? "0", 16);
  return { address: [high >> 8, high & 255, low >> 8, low & 255].join("."), family: 4 };
}

function networksOf(entry: string): readonly string[] {
  const word = entry.trim();
  return word === "loopback" || word === "private" || word === "link-local" ? NETWORKS[word] : [word];
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) addNetwork(list, network);
  return list;
}

function addNetwork(list: BlockList, network: string): void {
  const [address = "", prefix, ...rest] = network.split("/");
  const family = isIP(address);
  const bits = family === 4 ? 32 : 128;
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
  if (family === 0 || rest.length > 0 || length < 0 || length > bits) {
    throw new Error(
      `OUTBOUND_ALLOW: "${network}" is neither loopback, private, link-local nor a network such as 10.1.0.0/16`,
    );
  }
  list.addSubnet(address, length, family === 4 ? "ipv4" : "ipv6");
}
