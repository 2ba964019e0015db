import { isIPv6 } from "node:net";

/** What one party can choose addresses in: an IPv6 customer has a /64 (RFC 6177); IPv4 in either notation. */
export function networkOf(address: string | null | undefined): string {
  // A request whose connection is cut before it is looked at has none, whatever Fastify's types say.
  if (address === null || address === undefined) return "unknown";
  if (!address.includes(":")) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const text = address.split("%", 1)[0] ?? address;
  if (!isIPv6(text) || text.startsWith("::")) return text;
  const [head = "", tail] = text.toLowerCase().split("::", 2);
  const groups = head.split(":");
  if (tail !== undefined) {
    const last = tail === "" ? [] : tail.split(":");
    while (groups.length + last.length < 8) groups.push("0");
    groups.push(...last);
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
