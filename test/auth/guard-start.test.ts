import Fastify from "fastify";
import { describe, expect, test } from "vitest";
import type { CallerDeps } from "../../src/http/callers.js";
import { guardPlugin } from "../../src/http/guard.js";

describe("an app does not start with a route", () => {
  const start = async (config: object | undefined, method: string | string[] = "GET"): Promise<void> => {
    const app = Fastify();
    const verifier = { jwtOptions: { secret: "unused" } } as unknown as CallerDeps["verifier"];
    await app.register(guardPlugin, { verifier } as CallerDeps);
    app.route({
      method: method as "GET",
      url: "/things",
      ...(config && { config }),
      handler: async () => "things",
    });
    await app.ready();
    await app.close();
  };

  test.each<[string, object | undefined]>([
    ["that declares nothing", undefined],
    ["that declares something else", { rateLimit: 1 }],
    ["that is both public and guarded", { public: true, scopes: ["job:read"] }],
    ["that is public in another sense", { public: "yes" }],
    ["whose scopes are no list", { scopes: "job:read" }],
  ])("%s", async (_name, config) => {
    await expect(start(config)).rejects.toThrow(/GET \/things must declare/);
  });

  test("whose scope does not exist", async () => {
    await expect(start({ scopes: ["job:fly"] })).rejects.toThrow("GET /things names unknown scopes: job:fly");
  });

  test("and names every method of it", async () => {
    await expect(start(undefined, ["GET", "POST"])).rejects.toThrow("GET, POST /things");
  });

  test("but with OPTIONS routes, which @fastify/cors makes", async () => {
    await expect(start(undefined, "OPTIONS")).resolves.toBeUndefined();
  });
});
