import { createHash, generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { calculateJwkThumbprint, type JWK, SignJWT } from "jose";
import { PUBLIC_URL } from "./support.js";

export const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/** A key pair, as its holder has it. */
export interface KeyPair {
  readonly algorithm: string;
  readonly privateKey: KeyObject;
  readonly publicJwk: JWK;
}

export function newKeyPair(algorithm: "ES256" | "EdDSA" | "RS256" = "ES256"): KeyPair {
  const { privateKey, publicKey } = pairOf(algorithm);
  return { algorithm, privateKey, publicJwk: publicKey.export({ format: "jwk" }) as JWK };
}

function pairOf(algorithm: "ES256" | "EdDSA" | "RS256") {
  if (algorithm === "EdDSA") return generateKeyPairSync("ed25519");
  if (algorithm === "RS256") return generateKeyPairSync("rsa", { modulusLength: 2048 });
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

type Claims = Readonly<Record<string, unknown>>;

const seconds = (): number => Math.floor(Date.now() / 1_000);

/** An assertion of a client (RFC 7523), good but for what is changed. */
export function assertion(
  clientId: string,
  { algorithm, privateKey }: KeyPair,
  change: Claims = {},
  header: Claims = {},
): Promise<string> {
  const claims = { iss: clientId, sub: clientId, aud: PUBLIC_URL, jti: randomUUID(), exp: seconds() + 60 };
  return new SignJWT({ ...claims, ...change })
    .setProtectedHeader({ alg: algorithm, ...header })
    .sign(privateKey);
}

/** A DPoP proof (RFC 9449) for a GET of `/probe`, good but for what is changed. */
export function proof(
  { algorithm, privateKey, publicJwk }: KeyPair,
  { accessToken, ...change }: Claims & { readonly accessToken?: string } = {},
  header: Claims = {},
): Promise<string> {
  const ath = accessToken === undefined ? {} : { ath: hashOf(accessToken) };
  const claims = { htm: "GET", htu: `${PUBLIC_URL}/probe`, jti: randomUUID(), iat: seconds(), ...ath };
  return new SignJWT({ ...claims, ...change })
    .setProtectedHeader({ alg: algorithm, typ: "dpop+jwt", jwk: publicJwk, ...header })
    .sign(privateKey);
}

/** The same for a token request. */
export function tokenProof(pair: KeyPair, change: Claims = {}, header: Claims = {}): Promise<string> {
  return proof(pair, { htm: "POST", htu: `${PUBLIC_URL}/oauth/token`, ...change }, header);
}

export function thumbprint({ publicJwk }: KeyPair): Promise<string> {
  return calculateJwkThumbprint(publicJwk);
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
