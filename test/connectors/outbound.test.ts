import { describe, expect, it } from "vitest";
import { ConnectorError } from "../../src/connectors/connector.js";
import { createOutboundPolicy, type OutboundOptions } from "../../src/connectors/outbound.js";

const NAMES: Readonly<Record<string, readonly string[]>> = {
  "public.example": ["93.184.216.34"],
  "dual.example": ["2606:2800:220:1::1", "93.184.216.34"],
  "mixed.example": ["93.184.216.34", "10.0.0.5"],
  "rebound.example": ["127.0.0.1"],
  "six.example": ["2606:2800:220:1::1"],
  localhost: ["::1", "127.0.0.1"],
};

async function lookup(host: string): Promise<{ address: string }[]> {
  const addresses = NAMES[host];
  if (addresses === undefined) throw Object.assign(new Error("not found"), { code: "ENOTFOUND" });
  return addresses.map((address) => ({ address }));
}

function policy(options: Partial<OutboundOptions> = {}) {
  return createOutboundPolicy({
    allow: [],
    forbidden: [],
    lookup,
    localAddresses: () => ["192.168.1.20"],
    ...options,
  });
}

async function refusal(work: Promise<unknown>): Promise<ConnectorError> {
  const error = await work.then(
    (address) => new Error(`not refused: ${JSON.stringify(address)}`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ConnectorError)) throw error;
  return error;
}

describe("addresses that are not public are refused unless allowed", () => {
  it.each([
    ["127.0.0.1", "loopback"],
    ["127.8.9.10", "loopback"],
    ["::1", "loopback"],
    ["[::1]", "loopback"],
    ["0:0:0:0:0:0:0:1", "loopback"],
    ["::ffff:127.0.0.1", "loopback"],
    ["::ffff:7f00:1", "loopback"],
    ["10.1.2.3", "private"],
    ["172.16.0.1", "private"],
    ["172.31.255.255", "private"],
    ["192.168.0.1", "private"],
    ["::ffff:192.168.0.1", "private"],
    ["fd12:3456::1", "private"],
    ["169.254.169.254", "link-local"],
    ["fe80::1", "link-local"],
    ["fe80::1%eth0", "link-local"],
    ["0.0.0.0", "0.0.0.0/32"],
    ["0.1.2.3", "0.1.2.3/32"],
    ["100.64.0.1", "100.64.0.1/32"],
    ["100.100.100.200", "100.100.100.200/32"],
    ["192.0.2.1", "192.0.2.1/32"],
    ["198.18.0.1", "198.18.0.1/32"],
    ["224.0.0.1", "224.0.0.1/32"],
    ["255.255.255.255", "255.255.255.255/32"],
    ["::", "::/128"],
    ["::127.0.0.1", "::7f00:1/128"],
    ["64:ff9b::7f00:1", "64:ff9b::7f00:1/128"],
    ["2002:7f00:1::", "2002:7f00:1::/128"],
    ["ff02::1", "ff02::1/128"],
  ])("%s needs OUTBOUND_ALLOW=%s", async (host, allow) => {
    const error = await refusal(policy().resolve(host, 5432));
    expect(error.code).toBe("invalid_config");
    expect(error.message).toContain(`OUTBOUND_ALLOW=${allow}`);
    await expect(policy({ allow: [allow] }).resolve(host, 5432)).resolves.toBeDefined();
  });

  it.each([
    ["172.32.0.1", "172.32.0.1", 4],
    ["8.8.8.8", "8.8.8.8", 4],
    ["::ffff:8.8.8.8", "8.8.8.8", 4],
    ["2606:4700:4700::1111", "2606:4700:4700::1111", 6],
    ["[2606:4700:4700::1111]", "2606:4700:4700::1111", 6],
    ["public.example", "93.184.216.34", 4],
    ["PUBLIC.example.", "93.184.216.34", 4],
    ["six.example", "2606:2800:220:1::1", 6],
  ])("%s is public", async (host, address, family) => {
    expect(await policy().resolve(host, 443)).toEqual({ address, family });
  });

  it("allows what a CIDR names and nothing beside it", async () => {
    const some = policy({ allow: ["10.1.0.0/16", "192.168.7.7"] });
    expect(await some.resolve("10.1.2.3", 1)).toEqual({ address: "10.1.2.3", family: 4 });
    expect(await some.resolve("192.168.7.7", 1)).toEqual({ address: "192.168.7.7", family: 4 });
    expect((await refusal(some.resolve("10.2.0.1", 1))).message).toContain("10.2.0.1");
  });

  it("allows everything with networks of length zero", async () => {
    const all = policy({ allow: ["0.0.0.0/0", "::/0"] });
    expect(await all.resolve("169.254.169.254", 80)).toEqual({ address: "169.254.169.254", family: 4 });
    expect(await all.resolve("fe80::1", 80)).toEqual({ address: "fe80::1", family: 6 });
  });

  it.each(["loopbak", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "::1/129", ""])(
    "says at the start that %j is no network",
    (entry) => {
      expect(() => policy({ allow: [entry] })).toThrow(/OUTBOUND_ALLOW/);
    },
  );
});

describe("names", () => {
  it("are refused when any of their addresses is", async () => {
    const error = await refusal(policy().resolve("mixed.example", 5432));
    expect(error.message).toContain("10.0.0.5");
  });

  it("are checked after resolution, so that a public name cannot lead inside", async () => {
    expect((await refusal(policy().resolve("rebound.example", 80))).code).toBe("invalid_config");
  });

  it("give IPv4 first, because few local servers listen on both", async () => {
    expect(await policy().resolve("dual.example", 5432)).toEqual({ address: "93.184.216.34", family: 4 });
    const local = policy({ allow: ["loopback"] });
    expect(await local.resolve("localhost", 5432)).toEqual({ address: "127.0.0.1", family: 4 });
  });

  it("that nobody knows are unreachable, and the message names them", async () => {
    const error = await refusal(policy().resolve("nowhere.example", 5432));
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("nowhere.example");
  });

  it.each(["", " ", "/var/run/postgresql", "a/b"])("%j is no host", async (host) => {
    expect((await refusal(policy().resolve(host, 5432))).code).toBe("invalid_config");
  });
});

describe("the control plane's own database and queue", () => {
  const allow = ["loopback", "private"];
  const own = policy({
    allow,
    forbidden: [
      { host: "127.0.0.1", port: 5432, database: "gatehouse" },
      { host: "queue.example", port: 6379 },
    ],
    lookup: async (host) => (host === "queue.example" ? [{ address: "10.0.0.9" }] : lookup(host)),
  });

  it.each([
    ["127.0.0.1", 5432, "gatehouse"],
    ["localhost", 5432, "gatehouse"],
    ["::1", 5432, "gatehouse"],
    ["127.0.0.2", 5432, "gatehouse"],
    ["::ffff:127.0.0.1", 5432, "gatehouse"],
    ["192.168.1.20", 5432, "gatehouse"],
    ["127.0.0.1", 5432, undefined],
    ["queue.example", 6379, undefined],
    ["10.0.0.9", 6379, undefined],
    ["10.0.0.9", 6379, "anything"],
  ])("%s:%i, database %s, is refused though its network is allowed", async (host, port, database) => {
    const error = await refusal(own.resolve(host, port, database));
    expect(error.code).toBe("invalid_config");
    expect(error.message).toContain("Gatehouse itself");
  });

  it.each([
    ["127.0.0.1", 5432, "customers"],
    ["127.0.0.1", 5433, "gatehouse"],
    ["192.168.1.21", 5432, "gatehouse"],
    ["10.0.0.10", 6379, undefined],
  ])("%s:%i, database %s, is somebody else's", async (host, port, database) => {
    await expect(own.resolve(host, port, database)).resolves.toBeDefined();
  });
});
