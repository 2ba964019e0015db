import type { Wish } from "../client.js";
import { sourceOf } from "../jobs.js";
import type { Actor } from "../site.js";
import { startOnce } from "./start.js";

const NOWHERE = { type: "file", version: "1.0.0", config: { path: "in/nothing.csv" } };

/** Tests connections: files that are there, files that are not, and a database that comes and goes. */
export const check: Actor = {
  name: "check",
  weight: 4,
  async act(site, random) {
    const source = random.pick(["files", "database", "nowhere"] as const);
    const body = source === "nowhere" ? NOWHERE : sourceOf(site.stores, source);
    const path = "/api/v1/project/1/sources/test";
    const wish = { name: "check", method: "POST", path, body, key: random.uuid() } as const;
    const answer = await site.api.send(wish, random, 0.05);
    const { data } = (answer?.body ?? {}) as { data?: { connection_result?: { status?: string } } };
    const result = data?.connection_result?.status;
    if (answer?.status !== 200 || result === undefined) {
      site.findings.add(`check: ${answer?.status} ${JSON.stringify(answer?.body)}`);
    } else if (source !== "database" && result !== (source === "files" ? "SUCCEEDED" : "FAILED")) {
      site.findings.add(`check of ${source}: ${JSON.stringify(answer.body)}`);
    } else site.outcomes.add(`check ${result}`);
  },
};

/** Lists the streams of files, which are always there. */
export const discover: Actor = {
  name: "discover",
  weight: 3,
  async act(site, random) {
    const path = "/api/v1/project/1/sources/streams";
    const body = sourceOf(site.stores, "files");
    const wish = { name: "discover", method: "POST", path, body, key: random.uuid() } as const;
    const answer = await site.api.send(wish, random, 0.05);
    const { data } = (answer?.body ?? {}) as { data?: { streams_config?: { streams?: { name: string }[] } } };
    const names = data?.streams_config?.streams?.map(({ name }) => name).sort();
    if (names?.join() === "orders,people") site.outcomes.add("discover answered");
    else site.findings.add(`discover: ${answer?.status} ${JSON.stringify(answer?.body)}`);
  },
};

const FOLDER = { type: "file", version: "1.0.0", config: { path: "out/probed" } };

/** Has a destination tested many times at once, and waits for none: operations like any other, each once under its key. */
export const checkLater: Actor = {
  name: "check later",
  weight: 3,
  async act(site, random) {
    const wish: Wish = {
      ...{ name: "check later", method: "POST", path: "/api/v1/project/1/destinations/test", body: FOLDER },
      headers: { prefer: "respond-async" },
    };
    const each = Array.from({ length: random.int(4, 16) }, () => random.fork());
    await Promise.all(each.map((own) => startOnce(site, own, { ...wish, key: own.uuid() }, () => null)));
  },
};
