import { describe, expect, test } from "vitest";
import { Grants, grantScopes } from "./grants.js";
import { builtInResourceServers, type ResourceServer } from "./resource-servers.js";
import { ALL_SCOPES, expandScopes, type Scope, TENANT_SCOPES } from "./scopes.js";

const everywhere = builtInResourceServers("https://gatehouse.example").find("default", "") as ResourceServer;
const limited: ResourceServer = { ...everywhere, scopes: new Set<Scope>(["job:read", "run:read"]) };
const full = new Set(ALL_SCOPES);
const tenant = expandScopes(["service"]);
const reader = new Set<Scope>(["job:read", "run:read"]);

describe("the scope of a token", () => {
  test.each<[string, string | undefined, ReadonlySet<Scope>, ResourceServer, string]>([
    ["is all that is granted when none is asked", undefined, reader, everywhere, "run:read job:read"],
    [
      "begins with service for a full grant",
      undefined,
      full,
      everywhere,
      "service production:destructive platform:admin platform:metrics",
    ],
    ["is service for all of a tenant", undefined, tenant, everywhere, "service"],
    ["is the subset that is asked", "job:read", reader, everywhere, "job:read"],
    ["counts a repeated name once", "job:read job:read", reader, everywhere, "job:read"],
    ["is service alone when service is asked of a full grant", "service", full, everywhere, "service"],
    [
      "names every tenant scope asked one by one service",
      TENANT_SCOPES.join(" "),
      full,
      everywhere,
      "service",
    ],
    ["takes service and more", "platform:admin service", full, everywhere, "service platform:admin"],
    ["stays within the resource server's", undefined, full, limited, "run:read job:read"],
    ["is empty where nothing is granted", undefined, new Set(), everywhere, ""],
  ])("%s", (_name, asked, granted, server, scope) => {
    expect(grantScopes(asked, granted, server)).toEqual({ scope });
  });

  test.each<[string, string, ReadonlySet<Scope>, ResourceServer, string[]]>([
    ["beyond the grant", "job:read job:write", reader, everywhere, ["job:write"]],
    ["service without the full tenant grant", "service", reader, everywhere, ["service"]],
    [
      "an extra scope that service does not name",
      "service platform:admin",
      tenant,
      everywhere,
      ["platform:admin"],
    ],
    ["an unknown name", "job:read job:fly", full, everywhere, ["job:fly"]],
    ["a name that objects have", "constructor __proto__", full, everywhere, ["constructor", "__proto__"]],
    ["beyond the resource server's", "job:write", full, limited, ["job:write"]],
    ["double spaces", "job:read  run:read", full, everywhere, [""]],
  ])("refuses %s", (_name, asked, granted, server, refused) => {
    expect(grantScopes(asked, granted, server)).toEqual({ refused });
  });

  test("is remembered per grant and per server, never across them", () => {
    const grants = new Grants();
    for (let round = 0; round < 2; round += 1) {
      expect(grants.scopes("job:write", full, everywhere)).toEqual({ scope: "job:write" });
      expect(grants.scopes("job:write", reader, everywhere)).toEqual({ refused: ["job:write"] });
      expect(grants.scopes("job:write", full, limited)).toEqual({ refused: ["job:write"] });
    }
    for (let many = 0; many < 100; many += 1) grants.scopes(`made-up:${many}`, full, everywhere);
    expect(grants.scopes("job:read", full, everywhere)).toEqual({ scope: "job:read" });
  });
});
