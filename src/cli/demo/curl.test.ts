import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { curlOf, type DemoRequest, Secret } from "./curl.js";

/** What a shell makes of the printed command: curl's arguments. */
function argumentsOf(request: DemoRequest, variables: Record<string, string> = {}): string[] {
  const script = `curl() { printf '%s\\0' "$@"; }\n${curlOf(request)}`;
  const { stdout } = spawnSync("bash", ["-c", script], { env: variables, encoding: "utf8" });
  return stdout.split("\0").slice(0, -1);
}

test("a printed command means to a shell what was sent, whatever characters are in it", () => {
  const body = { name: 'it\'s "quoted" $HOME `id` \\ ä', list: [1, null] };
  const request = { method: "POST", url: "http://localhost/a?b=1&c=2", body } as const;
  const [silent, url, header, type, data, json] = argumentsOf(request);
  expect([silent, url]).toEqual(["-sS", "http://localhost/a?b=1&c=2"]);
  expect([header, type]).toEqual(["-H", "Content-Type: application/json"]);
  expect(data).toBe("-d");
  expect(JSON.parse(json ?? "")).toEqual(body);
});

test("secrets are printed as variables, and the variables take their place again", () => {
  const secret = new Secret("PASSWORD", "postgres");
  const request = { method: "PUT", url: "http://localhost/", body: { type: "postgres", secret } } as const;
  expect(JSON.stringify(request.body)).toContain('"secret":"postgres"');
  expect(curlOf(request)).toContain(`'{"type":"postgres","secret":"'"$PASSWORD"'"}'`);
  const given = argumentsOf(request, { PASSWORD: "of my own" });
  expect(given.slice(0, 3)).toEqual(["-sS", "-X", "PUT"]);
  expect(JSON.parse(given.at(-1) ?? "")).toEqual({ type: "postgres", secret: "of my own" });
});

test("the token is a variable, and a form is encoded by curl", () => {
  const form = { grant_type: "client_credentials", client_secret: new Secret("CLIENT_SECRET", "x") };
  const request = { method: "POST", url: "http://localhost/", form, token: "eyJ.secret" } as const;
  expect(curlOf(request)).not.toContain("eyJ");
  expect(argumentsOf(request, { TOKEN: "t", CLIENT_SECRET: "a b&c" }).slice(2)).toEqual([
    "-H",
    "Authorization: Bearer t",
    "--data-urlencode",
    "grant_type=client_credentials",
    "--data-urlencode",
    "client_secret=a b&c",
  ]);
});
