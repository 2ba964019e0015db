import type { ResourceServer } from "./resource-servers.js";
import { expandScopes, isScope, nameScopes, type Scope, SERVICE } from "./scopes.js";

/** What a token request comes to: the scopes of the token, or the names that it asked for beyond the grant. */
export type Granted = { readonly scope: string } | { readonly refused: readonly string[] };

/**
 * The scope of a token (RFC 6749 section 3.3). None asked: all that the client was granted. Asked: just that,
 * where the grant covers it; what goes beyond is refused, never dropped in silence.
 * @param asked the `scope` parameter as sent: names with single spaces between
 * @returns `scope` in its shortest form; empty where the client was granted nothing
 */
export function grantScopes(
  asked: string | undefined,
  granted: ReadonlySet<Scope>,
  server: ResourceServer,
): Granted {
  const allowed = within(granted, server.scopes);
  if (asked === undefined) return { scope: nameScopes(allowed).join(" ") };
  const names = asked.split(" ");
  const refused = names.filter((name) => !covers(allowed, name));
  return refused.length > 0 ? { refused } : { scope: nameScopes(expandScopes(names)).join(" ") };
}

function within(granted: ReadonlySet<Scope>, limit: ResourceServer["scopes"]): ReadonlySet<Scope> {
  return limit === "all" ? granted : new Set([...granted].filter((scope) => limit.has(scope)));
}

function covers(allowed: ReadonlySet<Scope>, name: string): boolean {
  if (name === SERVICE) return [...expandScopes([SERVICE])].every((scope) => allowed.has(scope));
  return isScope(name) && allowed.has(name);
}

/** A client asks for the same few things over and over; one that does not gains nothing and costs no memory. */
const MAX_ANSWERS = 16;

type Answers = Map<string | undefined, Granted>;

/** `grantScopes` that remembers: the grant and the server are the same objects for as long as they stay as they are. */
export class Grants {
  readonly #answers = new WeakMap<ReadonlySet<Scope>, WeakMap<ResourceServer, Answers>>();

  scopes(asked: string | undefined, granted: ReadonlySet<Scope>, server: ResourceServer): Granted {
    const answers = this.#answersOf(granted, server);
    const known = answers.get(asked);
    if (known !== undefined) return known;
    const answer = grantScopes(asked, granted, server);
    if (answers.size >= MAX_ANSWERS) answers.clear();
    answers.set(asked, answer);
    return answer;
  }

  #answersOf(granted: ReadonlySet<Scope>, server: ResourceServer): Answers {
    const byServer = this.#answers.get(granted) ?? new WeakMap<ResourceServer, Answers>();
    this.#answers.set(granted, byServer);
    const answers = byServer.get(server) ?? new Map();
    byServer.set(server, answers);
    return answers;
  }
}
