import type { BuiltServer } from "./server.js";

/** What is looked at of a database. */
export interface Database {
  readonly id: string;
  readonly connectionUrl: string;
  readonly status: { readonly state: string };
  /** Null until its server was looked at. */
  readonly storageBytes: number | null;
}

/** The deployments API of a built server, for its administrator. */
export async function openDatabases({ url, clientId, clientSecret }: BuiltServer) {
  const form = { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
  const token = await fetch(`${url}/oauth/token`, { method: "POST", body: new URLSearchParams(form) });
  const { access_token } = (await token.json()) as { access_token: string };
  const call = async <T>(method: string, path: string, body?: object): Promise<T> => {
    const answer = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${access_token}`,
        prefer: "wait=60",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const read = (id: string) => call<Database>("GET", `/databases/${id}?reveal=true`);
  return {
    token: access_token,
    call,
    read,
    async create(name: string, environmentId: string): Promise<Database> {
      const body = { name, plan: "ds1", environmentId };
      const made = await call<{ database: Database }>("POST", "/deployments/databases/postgres", body);
      return read(made.database.id);
    },
    /** A server that stops keeps its databases for the next start. */
    async terminateAll(): Promise<void> {
      const left = await call<readonly Database[]>("GET", "/deployments/databases");
      await Promise.all(
        left.map(({ id }) => call("PUT", `/databases/${id}/terminate`, { finalSnapshot: false })),
      );
    },
  };
}
