import { type ClientRecord, isUsable } from "./clients.js";
import type { Identity } from "./principal.js";
import type { Scope } from "./scopes.js";
import type { VerifiedToken } from "./verifier.js";

/**
 * What a verified token is worth by what the database says of its client: the principal; `revoked`; or `behind`
 * where the record seems older than the token, so that a fresh one has to decide.
 */
export type Admission = Identity | "revoked" | "behind";

/** The principal of a token under one record: made once, as long as the record stays what it is. */
const admitted = new WeakMap<
  VerifiedToken,
  { readonly record: ClientRecord; readonly principal: Identity }
>();

/** Judges a token (DESIGN.md section 5): same generation, usable client, scopes that both have, the record's projects. */
export function admit(token: VerifiedToken, record: ClientRecord | null, now: number): Admission {
  if (record === null || record.organizationId !== token.organizationId) return "revoked";
  // Generations only grow: a token of a later one was issued after this record was read.
  if (token.generation > record.generation) return "behind";
  if (token.generation < record.generation || !isUsable(record, now)) return "revoked";
  const known = admitted.get(token);
  if (known?.record === record) return known.principal;
  const scopes = new Set<Scope>([...token.scopes].filter((scope) => record.scopes.has(scope)));
  // Within one generation a grant only widens, so the token was issued under a wider one than this record.
  if (scopes.size < token.scopes.size) return "behind";
  const principal = toPrincipal(record, scopes);
  admitted.set(token, { record, principal });
  return principal;
}

/** The last word, by a record that was read just now: nothing is behind it any more. */
export function admitFresh(
  token: VerifiedToken,
  record: ClientRecord | null,
  now: number,
): Identity | "revoked" {
  const admission = admit(token, record, now);
  if (admission !== "behind") return admission;
  if (record === null || token.generation !== record.generation) return "revoked";
  return toPrincipal(record, new Set([...token.scopes].filter((scope) => record.scopes.has(scope))));
}

function toPrincipal(record: ClientRecord, scopes: ReadonlySet<Scope>): Identity {
  const { id, name, organizationId, projects } = record;
  return { kind: "client", id, name, organizationId, projects, scopes };
}
