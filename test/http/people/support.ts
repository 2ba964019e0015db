import { hashPassword } from "../../../src/domain/people/passwords.js";
import { newId } from "../../../src/platform/ids.js";
import type { Answer, CallOptions, Installation } from "../../support/installation.js";

export const PASSWORD = "correct horse battery staple";

/** The text's envelope. */
export interface Envelope<T = unknown> {
  readonly success: boolean;
  readonly message: string;
  readonly data: T;
  readonly error?: { readonly code: string; readonly detail: string; readonly errors?: { path: string }[] };
}

export const COOKIE = /^gatehouse_session=([\w-]{43});/;

/** The cookie header that a browser would send after an answer. */
export function cookieOf({ headers }: Pick<Answer<unknown>, "headers">): string {
  const secret = COOKIE.exec(headers["set-cookie"]?.[0] ?? "")?.[1];
  if (secret === undefined) throw new Error(`no session was set: ${headers["set-cookie"]}`);
  return `gatehouse_session=${secret}`;
}

/** Requests as browsers and curl make them: without a token, or with a cookie. */
export class Web {
  readonly #installation: Installation;
  /** What must never reach the log. */
  readonly secrets = new Set<string>([PASSWORD]);

  constructor(installation: Installation) {
    this.#installation = installation;
  }

  send<T = unknown>(method: string, url: string, options: CallOptions = {}): Promise<Answer<Envelope<T>>> {
    return this.#installation.call(method, url, { token: null, ...options });
  }

  as<T = unknown>(cookie: string, method: string, url: string, options: CallOptions = {}) {
    return this.send<T>(method, url, { ...options, headers: { cookie, ...options.headers } });
  }

  /** Logs in, and gives the cookie. */
  async login(username: string, password = PASSWORD): Promise<string> {
    const answer = await this.send("POST", "/login", { body: { username, password } });
    if (answer.status !== 200) throw new Error(`no login: ${answer.text}`);
    const cookie = cookieOf(answer);
    this.secrets.add(cookie.split("=")[1] ?? "").add(password);
    return cookie;
  }

  /** A user as an administrator would make it; all projects unless some are named. */
  async addUser(username: string, role: string, projects?: readonly string[]): Promise<string> {
    const { runtime, organizationId } = this.#installation;
    const id = newId();
    await runtime.prisma.user.create({
      data: {
        ...{ id, organizationId, username, email: `${username}@example.com`, role },
        passwordHash: await hashPassword(PASSWORD),
        allProjects: projects === undefined,
        projects: { create: (projects ?? []).map((projectId) => ({ projectId })) },
        createdBy: "administrator",
      },
    });
    return id;
  }
}
