import { type ClientRecord, isUsable } from "./clients.js";
import type { Identity, ProjectAccess } from "./principal.js";
import type { ResourceServer } from "./resource-servers.js";
import type { Scope } from "./scopes.js";
import type { UserRecord } from "./users.js";
import type { VerifiedToken } from "./verifier.js";

/** What the database says of everybody that a token depends on. */
export interface TokenFacts {
  readonly client: ClientRecord | null;
  /** Null as well for a token that stands for no person. */
  readonly user: UserRecord | null;
  readonly server: ResourceServer;
}

/** Whom a token stands for now, and what it was issued for as that is now. */
export interface Admitted {
  readonly identity: Identity;
  readonly server: ResourceServer;
}

/**
 * What a verified token is worth by what the database says: whom it stands for; `revoked`; or `behind` where the
 * records seem older than the token, so that fresh ones have to decide.
 */
export type Admission = Admitted | "revoked" | "behind";

interface Judgement {
  readonly facts: TokenFacts;
  readonly admitted: Admitted;
}

/** The judgement of a token under the same records: made once, as long as they stay what they are. */
const judgements = new WeakMap<VerifiedToken, Judgement>();

/**
 * Judges a token (DESIGN.md section 5): same generation, usable client and person, scopes that all have, the
 * records' projects.
 */
export function admit(token: VerifiedToken, facts: TokenFacts, now: number): Admission {
  const standing = standingOf(token, facts, now);
  if (standing !== "good") return standing;
  const known = judgements.get(token);
  if (known !== undefined && sameFacts(known.facts, facts)) return known.admitted;
  // Within one generation a grant only widens, so the token was issued under a wider one than these records.
  if (!covers(facts.client, token.scopes)) return "behind";
  if (facts.user !== null && !covers(facts.user, token.scopes)) return "behind";
  const admitted = toAdmitted(token, facts);
  judgements.set(token, { facts, admitted });
  return admitted;
}

/** The last word, by records that were read just now: nothing is behind them any more. */
export function admitFresh(token: VerifiedToken, facts: TokenFacts, now: number): Admitted | "revoked" {
  const standing = standingOf(token, facts, now);
  return standing === "good" ? toAdmitted(token, facts) : "revoked";
}

function standingOf(
  token: VerifiedToken,
  { client, user }: TokenFacts,
  now: number,
): "good" | "revoked" | "behind" {
  if (client === null || client.organizationId !== token.organizationId) return "revoked";
  const ofClient = compare(token.generation, client.generation);
  if (ofClient !== "good") return ofClient;
  if (!isUsable(client, now)) return "revoked";
  if (token.user === null) return "good";
  if (user === null || user.organizationId !== token.organizationId || user.disabled) return "revoked";
  return compare(token.user.generation, user.generation);
}

/** Generations only grow: a token of a later one was issued after the record was read. */
function compare(ofToken: number, ofRecord: number): "good" | "revoked" | "behind" {
  if (ofToken === ofRecord) return "good";
  return ofToken > ofRecord ? "behind" : "revoked";
}

function sameFacts(a: TokenFacts, b: TokenFacts): boolean {
  return a.client === b.client && a.user === b.user && a.server === b.server;
}

function covers(holder: { readonly scopes: ReadonlySet<Scope> } | null, scopes: ReadonlySet<Scope>): boolean {
  if (holder === null) return false;
  for (const scope of scopes) if (!holder.scopes.has(scope)) return false;
  return true;
}

function toAdmitted(token: VerifiedToken, { client, user, server }: TokenFacts): Admitted {
  if (client === null) throw new Error("a token without a client was admitted");
  const limits: readonly ResourceServer["scopes"][] = [client.scopes, user?.scopes ?? "all", server.scopes];
  const scopes = new Set<Scope>();
  for (const scope of token.scopes) {
    if (limits.every((limit) => limit === "all" || limit.has(scope))) scopes.add(scope);
  }
  const { organizationId } = client;
  const identity: Identity =
    user === null
      ? {
          kind: "client",
          id: client.id,
          name: client.name,
          organizationId,
          projects: client.projects,
          scopes,
        }
      : {
          ...{ kind: "user", id: user.id, name: user.username, organizationId, scopes },
          projects: inCommon(client.projects, user.projects),
        };
  return { identity, server };
}

/** The projects that both reach. */
function inCommon(a: ProjectAccess, b: ProjectAccess): ProjectAccess {
  if (a === "all") return b;
  return b === "all" ? a : new Set([...a].filter((id) => b.has(id)));
}
