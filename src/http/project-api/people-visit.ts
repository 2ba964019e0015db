import { BlockList, isIPv6 } from "node:net";
import type { FastifyRequest } from "fastify";
import type { Visit } from "../../domain/people/visit.js";
import { sessionSecretOf } from "../session-auth.js";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** What proxies add. Nobody can be kept from sending them, so they only ever take something away. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"] as const;

/** From where a request comes, whoever makes it. */
export function visitOf(request: FastifyRequest): Visit {
  return {
    address: request.ip,
    requestId: request.id,
    userAgent: request.headers["user-agent"] ?? null,
    local: isLocal(request),
    sessionSecret: sessionSecretOf(request),
  };
}

/**
 * Whether the caller sits at this machine: by the other end of the connection alone. A proxy on this machine makes
 * the whole world look local; what says that it came through one does not count.
 */
function isLocal({ socket, headers }: FastifyRequest): boolean {
  const { remoteAddress } = socket;
  if (remoteAddress === undefined || FORWARDED.some((name) => headers[name] !== undefined)) return false;
  return LOOPBACK.check(remoteAddress, isIPv6(remoteAddress) ? "ipv6" : "ipv4");
}
