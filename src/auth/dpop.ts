import { createHash } from "node:crypto";
import {
  calculateJwkThumbprint,
  EmbeddedJWK,
  type JWTHeaderParameters,
  type JWTPayload,
  jwtVerify,
} from "jose";
import type { Clock } from "../platform/clock.js";
import type { UsedProofs } from "./used-proofs.js";
import { InvalidTokenError } from "./verifier.js";

/** What proofs may be signed with: asymmetric, and quick to check. */
export const DPOP_ALGORITHMS = ["ES256", "EdDSA", "Ed25519"] as const;

/** How far the clock of whoever made a proof may be from ours, either way: how long a proof is good. */
const WINDOW_MS = 60_000;
/** An id is compared and stored by its hash; no reason to read a novel. */
const LONGEST_JTI = 512;

/** What a request with a bound token lacks (RFC 9449 section 7.1); the text goes into `error_description`. */
export class DpopError extends InvalidTokenError {
  readonly code: "invalid_dpop_proof" | "invalid_token";

  constructor(code: DpopError["code"], description: string, options?: ErrorOptions) {
    super(description, options);
    this.name = "DpopError";
    this.code = code;
  }
}

/** The request that a proof has to be made for. */
export interface ProvenRequest {
  readonly method: string;
  /** Without a query. */
  readonly path: string;
  /** The token that goes with it; absent where one is asked for. */
  readonly accessToken?: string;
}

export interface ProofDeps {
  /** What a proof's `htu` begins with, whatever host a request came to. */
  readonly publicUrl: string;
  readonly used: UsedProofs;
  readonly clock: Clock;
}

/** Checks DPoP proofs (RFC 9449 section 4.3): each is good for one request of a minute. */
export class Proofs {
  readonly #deps: ProofDeps;

  constructor(deps: ProofDeps) {
    this.#deps = deps;
  }

  /**
   * The thumbprint of the key that a request proves to have. Throws a `DpopError`, or `unavailable` where nobody
   * knows whether the proof was used before.
   * @param proof the header `DPoP`; several come with commas between, and are none
   * @param boundTo the thumbprint that it has to be
   */
  async check(proof: string | undefined, request: ProvenRequest, boundTo?: string): Promise<string> {
    if (proof === undefined) throw invalidProof("there is none");
    const { payload, header } = await verify(proof);
    const issuedAt = this.#checkTime(payload);
    this.#checkRequest(payload, request);
    const thumbprint = await thumbprintOf(header);
    if (boundTo !== undefined && thumbprint !== boundTo) {
      throw new DpopError("invalid_token", "the access token is bound to another key");
    }
    const { jti } = payload;
    if (jti === undefined || jti === "" || jti.length > LONGEST_JTI) throw invalidProof("its jti is missing");
    // Only now: a proof that is refused for anything else is not used up.
    if (await this.#deps.used.use("dpop", thumbprint, jti, issuedAt + WINDOW_MS)) return thumbprint;
    throw invalidProof("it was used before");
  }

  #checkTime({ iat }: JWTPayload): number {
    if (iat === undefined || !Number.isFinite(iat)) throw invalidProof("its iat is missing");
    const issuedAt = iat * 1_000;
    const off = Math.abs(this.#deps.clock.now().getTime() - issuedAt);
    if (off > WINDOW_MS) throw invalidProof("its iat is not the present");
    return issuedAt;
  }

  #checkRequest({ htm, htu, ath }: JWTPayload, { method, path, accessToken }: ProvenRequest): void {
    if (htm !== method) throw invalidProof("its htm is another method");
    if (typeof htu !== "string" || withoutQuery(htu) !== withoutQuery(this.#deps.publicUrl + path)) {
      throw invalidProof("its htu is another address");
    }
    if (accessToken !== undefined && ath !== hashOf(accessToken)) {
      throw invalidProof("its ath is of another access token");
    }
  }
}

async function verify(proof: string) {
  try {
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      typ: "dpop+jwt",
      algorithms: [...DPOP_ALGORITHMS],
    });
    return { payload, header: protectedHeader };
  } catch (cause) {
    throw invalidProof("it is malformed or not signed with its own key", cause);
  }
}

async function thumbprintOf({ jwk }: JWTHeaderParameters): Promise<string> {
  if (jwk === undefined) throw invalidProof("its jwk is missing");
  return calculateJwkThumbprint(jwk);
}

/** Without query and fragment, and in the form that the URL standard gives to all spellings (RFC 9449 section 4.3). */
function withoutQuery(address: string): string | null {
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  url.search = "";
  url.hash = "";
  return url.href;
}

/** RFC 9449 section 4.2. */
function hashOf(accessToken: string): string {
  return createHash("sha256").update(accessToken).digest("base64url");
}

function invalidProof(why: string, cause?: unknown): DpopError {
  return new DpopError("invalid_dpop_proof", `the DPoP proof cannot be accepted: ${why}`, { cause });
}
