import Provider, { type Configuration, errors } from "oidc-provider";
import type { Clock } from "../platform/clock.js";
import type { MasterKey } from "../platform/crypto.js";
import type { AccessRecords } from "./access-records.js";
import { type ClientRecord, matchSecret } from "./clients.js";
import type { Rekeying } from "./rekeying.js";
import type { UsedProofs } from "./used-proofs.js";
import type { Uses } from "./uses.js";

/** How clients may authenticate at the token endpoint and at those that are told tokens. */
export const CLIENT_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"] as const;

/** What assertions may be signed with (RFC 7518 section 3.1, RFC 8037, RFC 9864). */
export const ASSERTION_ALGORITHMS = [
  ...(["ES256", "ES384", "ES512", "EdDSA", "Ed25519"] as const),
  ...(["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"] as const),
];

/** Seconds. The id of an assertion is kept until its end, so that end is near. */
const LONGEST_ASSERTION_S = 3_600;
const CLOCK_TOLERANCE_S = 15;

export interface ClientAuthenticationDeps {
  readonly records: AccessRecords;
  readonly masterKey: MasterKey;
  readonly rekeying: Rekeying;
  readonly usedProofs: UsedProofs;
  readonly secretUses: Uses;
  readonly clock: Clock;
}

type Client = InstanceType<Provider["Client"]>;

/** The part of the provider's configuration that says how clients authenticate. */
export function clientAuthentication({ clock }: ClientAuthenticationDeps) {
  return {
    clientAuthMethods: CLIENT_AUTH_METHODS,
    clockTolerance: CLOCK_TOLERANCE_S,
    enabledJWA: { clientAuthSigningAlgValues: ASSERTION_ALGORITHMS },
    assertJwtClientAuthClaimsAndHeader: (_ctx, { exp }) => {
      const now = clock.now().getTime() / 1_000;
      if (Number(exp) > now + LONGEST_ASSERTION_S)
        throw new errors.InvalidClientAuth("its exp is too far away");
    },
  } satisfies Configuration;
}

/**
 * Has a provider authenticate the project's clients: by secrets that are stored hashed, and by assertions that are
 * good once (RFC 7523 section 3), whichever of the two a request comes with.
 */
export function authenticateClients(provider: Provider, deps: ClientAuthenticationDeps): void {
  provider.Client.prototype.compareClientSecret = function compare(presented: string) {
    return authenticate(deps, this.clientId, presented);
  };
  // The provider knows one method per client; here a client that has both secrets and keys may use either.
  Object.defineProperty(provider.Client.prototype, "clientAuthMethod", {
    configurable: true,
    get(this: Client): (typeof CLIENT_AUTH_METHODS)[number] {
      return this.jwks === undefined ? "client_secret_basic" : methodOf();
    },
  });
  // The provider's own looks first and saves then: of two requests at once both would be good.
  provider.ReplayDetection.unique = (issuer, jti, exp) =>
    deps.usedProofs.use("client-assertion", issuer, jti, exp * 1_000);
}

/** Of a client that has keys, by what the present request comes with; there is none while a client is made of its metadata. */
function methodOf(): (typeof CLIENT_AUTH_METHODS)[number] {
  const assertion = Provider.ctx?.oidc.params?.["client_assertion"];
  return assertion === undefined ? "client_secret_basic" : "private_key_jwt";
}

/** Compares with what memory holds and, where that fails, with the database: a secret may just have been added. */
function authenticate(
  deps: ClientAuthenticationDeps,
  clientId: string,
  presented: string,
): boolean | Promise<boolean> {
  const known = deps.records.get(clientId);
  if (!(known instanceof Promise) && matches(deps, known, presented)) return true;
  const fresh = known instanceof Promise ? known : deps.records.reload(clientId);
  return fresh.then((client) => matches(deps, client, presented));
}

function matches(
  { masterKey, clock, rekeying, secretUses }: ClientAuthenticationDeps,
  client: ClientRecord | null,
  presented: string,
): boolean {
  if (client === null) return false;
  const match = matchSecret(masterKey, client, presented, clock.now().getTime());
  if (match === null) return false;
  rekeying.secretUsed(match);
  secretUses.used(match.stored.id);
  return true;
}
