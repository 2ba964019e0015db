// What the scripts beside this file share: a client of the deployments API. Node.js 20, no packages.
//
//   GATEHOUSE      where it is; default http://localhost:8080
//   CLIENT_ID      an API client that reaches the environments that the script works on
//   CLIENT_SECRET

const { GATEHOUSE = "http://localhost:8080", CLIENT_ID, CLIENT_SECRET } = process.env;
let token = { value: "", endsAt: 0 };

/** A token lives for an hour; the next one is fetched a minute before its end. */
async function bearer() {
  if (Date.now() < token.endsAt - 60_000) return token.value;
  if (!CLIENT_ID || !CLIENT_SECRET) throw new Error("set CLIENT_ID and CLIENT_SECRET");
  const answer = await fetch(`${GATEHOUSE}/organizations/oauth/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
    }),
  });
  const { access_token, expires_in, error_description, error } = await answer.json();
  if (!answer.ok) throw new Error(`no token: ${error_description ?? error}`);
  token = { value: access_token, endsAt: Date.now() + expires_in * 1_000 };
  return access_token;
}

/** A request; the answer, or an error with what Gatehouse says. */
export async function request(method, path, { body, headers = {} } = {}) {
  const answer = await fetch(new URL(path, GATEHOUSE), {
    method,
    headers: { authorization: `Bearer ${await bearer()}`, ...headers },
    ...(body === undefined ? {} : { body }),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${(await answer.json()).error}`);
  return answer;
}

async function json(method, path, options) {
  return (await request(method, path, options)).json();
}

/** One database. */
export const read = (id) => json("GET", `/databases/${id}`);

/** All databases that a filter finds, such as `state=running`, page by page. */
export async function list(filter) {
  const found = [];
  let next = `/deployments/databases?${filter}`;
  while (next !== undefined) {
    const page = await request("GET", next);
    found.push(...(await page.json()));
    next = /<([^>]+)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1];
  }
  return found;
}

const WAITING = { prefer: "wait=60" };

/** Makes a database like another one, in its environment, and waits until it serves. */
export async function createLike({ engine, environmentId, plan, region }, name) {
  const { database, operationId } = await json("POST", `/deployments/databases/${engine}`, {
    headers: WAITING,
    body: new URLSearchParams({ name, plan, region, environmentId }),
  });
  await ended(database.id, operationId);
  return read(database.id);
}

/**
 * Does a command and waits for its end, however long that takes; an error where it fails.
 * @returns the ids of what it made: `snapshotId`, `exportId`, `databaseId` of a clone
 */
export async function run(command, id, fields = {}) {
  const body = fields instanceof FormData ? fields : new URLSearchParams(fields);
  const made = await json("PUT", `/databases/${id}/${command}`, { body });
  await ended(id, made.operationId);
  return made;
}

async function ended(id, operationId) {
  for (;;) {
    const operation = await json("GET", `/databases/${id}/operations/${operationId}`, { headers: WAITING });
    if (operation.status === "failed") throw new Error(`${operation.operationType}: ${operation.error}`);
    if (operation.status === "finished") return;
  }
}

/** Ends the script: with exit code 1 and a line that says why, where its work fails. */
export async function main(work) {
  try {
    await work(process.argv.slice(2));
  } catch (error) {
    console.error(error.cause === undefined ? error.message : `${error.message}: ${error.cause.message}`);
    process.exitCode = 1;
  }
}
