import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreatedClient } from "../../src/auth/clients.js";
import { type Harness, openHarness, PUBLIC_URL } from "../auth/harness.js";

let h: Harness;
let base: string;

beforeAll(async () => {
  h = await openHarness();
  base = await h.app.listen({ port: 0, host: "127.0.0.1" });
});
afterAll(() => h.close());

/** Sends bytes as they are and reads what comes back until the server closes. */
async function raw(request: string): Promise<string> {
  const socket = connect(Number(new URL(base).port), "127.0.0.1");
  await once(socket, "connect");
  socket.write(request);
  return text(socket);
}

describe("the texts' token requests, as curl sends them", () => {
  test("grepr-getting-started: JSON with an audience", async () => {
    const response = await fetch(`${base}/oauth/token`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: `{
  "client_id": "${h.admin.clientId}",
  "client_secret": "${h.admin.clientSecret}",
  "audience": "service",
  "grant_type": "client_credentials"
}`,
    });
    expect(response.status).toBe(200);
    const answer = (await response.json()) as Record<string, unknown>;
    expect(answer).toMatchObject({
      token_type: "Bearer",
      expires_in: 86_400,
      scope: expect.stringMatching(/^service\b/),
    });
    // The next request of the text: a GET that names a content type it has no body for.
    const headers = { authorization: `Bearer ${answer["access_token"]}`, "content-type": "application/json" };
    expect((await fetch(`${base}/jobs?processing=STREAMING`, { headers })).status).toBe(200);
  });

  test("graphenedb-public-api: a form, on the path that the text names", async () => {
    const client = await h.newClient();
    const response = await fetch(`${base}/organizations/oauth/token`, {
      method: "POST",
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        accept: "*/*",
        "user-agent": "curl/8.5.0",
      },
      body: `client_secret=${client.clientSecret}&client_id=${client.clientId}&grant_type=client_credentials`,
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ token_type: "Bearer", expires_in: 3_600 });
  });

  test("snowplow-job-execution-api: its audience and its parameters, with client credentials", async () => {
    const client = await h.newClient();
    const response = await fetch(`${base}/oauth/token`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body:
        `grant_type=client_credentials&username=USER@DOMAIN.COM&password=PASSWORD&audience=${PUBLIC_URL}/api/` +
        `&client_id=${client.clientId}&client_secret=${client.clientSecret}`,
    });
    expect(response.status).toBe(200);
  });
});

describe("over a socket", () => {
  const form = (): string =>
    new URLSearchParams({
      ...{
        grant_type: "client_credentials",
        client_id: h.admin.clientId,
        client_secret: h.admin.clientSecret,
      },
    }).toString();
  const head = (more: string): string =>
    `POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n${more}\r\n\r\n`;

  test("requests share a connection, good and bad ones in turn", async () => {
    const bad = "grant_type=client_credentials&client_id=a&client_secret=b";
    const requests = [form(), bad, form()].map((body) => head(`Content-Length: ${body.length}`) + body);
    const answers = await raw(
      `${requests.join("")}GET /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    expect(answers.match(/HTTP\/1\.1 \d+/g)).toEqual([
      "HTTP/1.1 200",
      "HTTP/1.1 401",
      "HTTP/1.1 200",
      "HTTP/1.1 200",
    ]);
  });

  test("a chunked body is read like any other", async () => {
    const body = form();
    const chunks = [body.slice(0, 20), body.slice(20)].map(
      (part) => `${part.length.toString(16)}\r\n${part}\r\n`,
    );
    const answer = await raw(
      `${head("Transfer-Encoding: chunked\r\nConnection: close")}${chunks.join("")}0\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  });

  test("a chunked body that has no end in sight is refused with 413", async () => {
    const chunk = `4000\r\n${"x".repeat(0x4000)}\r\n`;
    const answer = await raw(`${head("Transfer-Encoding: chunked\r\nConnection: close")}${chunk.repeat(4)}`);
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toContain('{"error":"invalid_request"');
  });

  test("a body that is announced as huge is refused with 413 before it is sent", async () => {
    const answer = await raw(head("Content-Length: 999999999\r\nConnection: close"));
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  });

  test("a body under an encoding is read or refused, no more", async () => {
    const body = form();
    const more = `Content-Encoding: gzip\r\nContent-Length: ${body.length}\r\nConnection: close`;
    // The bytes are no gzip and are taken as they are: the encoding is not this endpoint's.
    expect(await raw(head(more) + body)).toMatch(/^HTTP\/1\.1 (200|400) /);
  });

  test("many clients at once get a token each", async () => {
    const clients: CreatedClient[] = [];
    while (clients.length < 120) clients.push(await h.newClient());
    const answers = await Promise.all(
      clients.map(async (client) => {
        const token = await h.tokenOf(client);
        return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).client_id;
      }),
    );
    expect(answers).toEqual(clients.map(({ clientId }) => clientId));
  });

  test("without the database the answer is 503 with Retry-After, as OAuth says errors", async () => {
    h.cutDatabase(true);
    try {
      const response = await fetch(`${base}/oauth/token`, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: "grant_type=client_credentials&client_id=somebody&client_secret=x",
      });
      expect([response.status, response.headers.get("retry-after")]).toEqual([503, "1"]);
      expect(await response.json()).toMatchObject({ error: "temporarily_unavailable" });
    } finally {
      h.cutDatabase(false);
    }
  });
});
