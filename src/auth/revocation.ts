import type { Sql } from "../platform/sql.js";
import type { AccessRecords } from "./access-records.js";
import type { ClientRecord } from "./clients.js";
import type { Denylist } from "./denylist.js";
import { OAuthError } from "./oauth-error.js";
import type { VerifiedToken } from "./verifier.js";

/** Writes a revocation down, in the transaction that makes it. */
export type RevocationRecord = (tx: Sql, client: ClientRecord, token: VerifiedToken) => Promise<void>;

/** By some clock a token lives a little longer than by ours: it stays revoked. */
const GRACE_MS = 60_000;

/**
 * Takes a token back at the wish of a client (RFC 7009): its own, or with `client:write` any of its organization's
 * that a client holds which it may see. Tokens of other organizations are as good as unknown: nothing happens, and
 * nothing is said.
 */
export async function revokeToken(
  { denylist, records }: { readonly denylist: Denylist; readonly records: AccessRecords },
  client: ClientRecord,
  token: VerifiedToken,
  record: RevocationRecord,
): Promise<void> {
  if (token.organizationId !== client.organizationId) return;
  if (token.clientId !== client.clientId && !mayManage(client, await records.get(token.clientId))) {
    // RFC 7009 section 2.1: the client is told.
    throw new OAuthError("unauthorized_client", "the token is another client's");
  }
  const until = new Date(token.expiresAt + GRACE_MS);
  await denylist.revoke(token.jti, until, (tx) => record(tx, client, token));
}

/** What a client is allowed over others, as for their administration: none that reaches projects beyond its own. */
function mayManage(client: ClientRecord, other: ClientRecord | null): boolean {
  if (!client.scopes.has("client:write")) return false;
  if (client.projects === "all") return true;
  // One that is gone has no token that could be revoked any more.
  if (other === null || other.projects === "all") return false;
  const own = client.projects;
  return [...other.projects].every((id) => own.has(id));
}
