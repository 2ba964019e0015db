import { createPublicKey, type JsonWebKey } from "node:crypto";
import { type FieldError, invalid, messageOf } from "../../platform/errors.js";

/** Public keys that a client signs its assertions with (RFC 7517 section 5, RFC 7523). */
export interface PublicJwks {
  readonly keys: readonly PublicJwk[];
}

/** A public key: its members are text. */
export type PublicJwk = Readonly<Record<string, string>>;

export const MAX_KEYS = 10;

/** Members that make a key private or secret (RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2). */
const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/** What a public key consists of; everything else that was sent is left out. */
const PUBLIC_MEMBERS = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"];
const CURVES: Readonly<Record<string, readonly string[]>> = {
  EC: ["P-256", "P-384", "P-521"],
  OKP: ["Ed25519"],
};
const ALGORITHMS = /^(RS|PS|ES)(256|384|512)$|^EdDSA$|^Ed25519$/;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;

/** The public keys of what a client sent. Throws an invalid request that names each key that cannot be used. */
export function checkJwks(sent: { readonly keys: readonly object[] }): PublicJwks {
  const errors: FieldError[] = [];
  const keys = sent.keys.map((key, index) => {
    const fault = faultOf(key as Readonly<Record<string, unknown>>);
    if (fault !== null) errors.push({ path: `/jwks/keys/${index}`, message: fault });
    return publicPart(key);
  });
  const kids = keys.flatMap(({ kid }) => (kid === undefined ? [] : [kid]));
  if (new Set(kids).size < kids.length) errors.push({ path: "/jwks/keys", message: "two keys have one kid" });
  if (keys.length > 1 && kids.length < keys.length) {
    errors.push({ path: "/jwks/keys", message: "each of several keys needs a kid" });
  }
  if (errors.length > 0) {
    throw invalid(errors.map(({ path, message }) => `${path} ${message}`).join("; "), errors);
  }
  return { keys };
}

function publicPart(key: object): PublicJwk {
  return Object.fromEntries(
    Object.entries(key).filter(([name, value]) => PUBLIC_MEMBERS.includes(name) && typeof value === "string"),
  ) as PublicJwk;
}

function faultOf(key: Readonly<Record<string, unknown>>): string | null {
  const { kty, crv, alg, use } = key;
  const secret = PRIVATE_MEMBERS.filter((name) => name in key);
  if (secret.length > 0) {
    return `holds private members (${secret.join(", ")}): take the key as leaked, and send the public part of another`;
  }
  if (kty !== "RSA" && kty !== "EC" && kty !== "OKP") return "must have the kty RSA, EC or OKP";
  const curves = CURVES[kty];
  if (curves !== undefined && !curves.includes(String(crv)))
    return `must have the crv ${curves.join(" or ")}`;
  if (use !== undefined && use !== "sig") return "must be for signatures (use: sig)";
  if (alg !== undefined && !ALGORITHMS.test(String(alg)))
    return `has the alg ${String(alg)}, which is none of signatures`;
  return faultOfMaterial(key);
}

/** Whether the numbers of a key make a key at all, and one that is long enough. */
function faultOfMaterial(key: Readonly<Record<string, unknown>>): string | null {
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: publicPart(key) as JsonWebKey, format: "jwk" });
    const bits = asymmetricKeyDetails?.modulusLength;
    if (bits === undefined || (bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS)) return null;
    return `has ${bits} bits: RSA keys need ${MIN_RSA_BITS} to ${MAX_RSA_BITS}`;
  } catch (error) {
    return `is no valid public key (${messageOf(error)})`;
  }
}

/** Whether every key of one set is in another: then no key was taken away. */
export function keepsKeys(before: PublicJwks, after: PublicJwks | null): boolean {
  const kept = new Set((after?.keys ?? []).map(material));
  return before.keys.every((key) => kept.has(material(key)));
}

/** What makes a key the key that it is, as text. */
function material(key: PublicJwk): string {
  return JSON.stringify(["kty", "crv", "x", "y", "n", "e"].map((name) => key[name] ?? null));
}
