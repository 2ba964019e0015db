import type Provider from "oidc-provider";
import { errors } from "oidc-provider";
import { AppError } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";
import { scopeOf } from "./client-grant.js";
import type { ClientRecord } from "./clients.js";
import { grantScopes } from "./grants.js";
import {
  askedServer,
  type GrantContext,
  grantedClient,
  type IssuingDeps,
  issueToken,
  requestOf,
} from "./issuing.js";
import type { Scope } from "./scopes.js";
import type { AuthenticatedPerson, PasswordCheck } from "./token-request.js";

/**
 * The password grant (RFC 6749 section 4.3), for clients that an administrator allowed it: OAuth 2.1 leaves it out.
 * The token stands for the person, with the scopes that the client and the person have in common.
 */
export async function grantToPerson(
  provider: Provider,
  deps: IssuingDeps,
  ctx: GrantContext,
  deprecation: DeprecationLog,
): Promise<void> {
  const { checkPassword } = requestOf(ctx).context;
  if (checkPassword === undefined) throw new errors.UnsupportedGrantType();
  const client = await grantedClient(deps, ctx);
  deprecation.note(client);
  const server = await askedServer(deps, ctx, client);
  const person = await authenticate(checkPassword, ctx, client);
  const common = inCommon(client.scopes, person.identity.scopes);
  const scope = scopeOf(grantScopes(ctx.oidc.params.scope, common, server));
  await issueToken(provider, deps, ctx, { client, person, server, scope });
}

async function authenticate(
  checkPassword: PasswordCheck,
  { oidc: { params } }: GrantContext,
  client: ClientRecord,
): Promise<AuthenticatedPerson> {
  const { username, password } = params;
  if (username === undefined || password === undefined) {
    throw new errors.InvalidRequest("username and password are required");
  }
  const person = await checkPassword(username, password).catch((error: unknown) => {
    throw error instanceof AppError && error.code === "unauthenticated" ? wrong(error) : error;
  });
  // Of another tenant: as good as unknown, after the same work.
  if (person.identity.organizationId !== client.organizationId) throw wrong();
  return person;
}

/** One answer for every reason: it tells nobody which names exist, nor which accounts are locked. */
function wrong(cause?: Error): Error {
  const description =
    "the user name or the password is wrong, or the account takes no logins for a while after failed ones";
  return new errors.CustomOIDCProviderError("invalid_grant", description, { cause });
}

function inCommon(a: ReadonlySet<Scope>, b: ReadonlySet<Scope>): Set<Scope> {
  return new Set([...a].filter((scope) => b.has(scope)));
}

/** Says once per client, in this process, that it uses what is going away. */
export class DeprecationLog {
  readonly #logger: Logger;
  readonly #noted = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  note({ clientId, name }: ClientRecord): void {
    if (this.#noted.has(clientId)) return;
    this.#noted.add(clientId);
    this.#logger.warn(
      { clientId, name },
      "this client uses the password grant, which is deprecated (OAuth 2.1): use client credentials",
    );
  }
}
