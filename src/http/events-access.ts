import type { FastifyRequest } from "fastify";
import { TokenJudge } from "../auth/judge.js";
import type { Identity } from "../auth/principal.js";
import { type CallerDeps, opensDialect } from "./callers.js";
import { credentialOf } from "./credentials.js";
import { routedPath } from "./dialect.js";

/** Whether a caller that the guard let in would still be let in: asked again and again while an answer lasts. */
export class Readmission {
  readonly #deps: CallerDeps;
  readonly #tokens: TokenJudge;

  constructor(deps: CallerDeps) {
    this.#deps = deps;
    this.#tokens = new TokenJudge({ ...deps, records: deps.accessRecords });
  }

  /**
   * Looks at the records that the guard looks at, which are no older than a second: a token that was revoked or has
   * expired, a key that was taken back, a session that is over, a scope or a project that was taken away. Whoever
   * cannot be judged is not let in. Never rejects.
   * @param projectId of what the caller is told about
   */
  async admits(request: FastifyRequest, projectId: string | null): Promise<boolean> {
    const identity = await this.#identify(request).catch(() => null);
    if (identity === null || identity.organizationId !== request.principal.organizationId) return false;
    const { scopes = [] } = request.routeOptions.config;
    if (!scopes.every((scope) => identity.scopes.has(scope))) return false;
    return identity.projects === "all" || (projectId !== null && identity.projects.has(projectId));
  }

  async #identify(request: FastifyRequest): Promise<Identity | null> {
    const now = this.#deps.clock.now().getTime();
    const token = request.accessToken;
    if (token !== null) {
      if (token.expiresAt <= now) return null;
      const { identity, server } = await this.#tokens.judge(token);
      return opensDialect(server, this.#deps.dialectOf(routedPath(request))) ? identity : null;
    }
    const credential = credentialOf(request);
    const key = credential.kind === "key" ? credential.value : keyOfUrl(request);
    return key === null ? this.#deps.sessions(request) : this.#deps.apiKeys.authenticate(key, now);
  }
}

/** The guard has taken it out of the query. */
function keyOfUrl({ url }: FastifyRequest): string | null {
  return new URL(url, "http://localhost").searchParams.get("apiKey");
}
