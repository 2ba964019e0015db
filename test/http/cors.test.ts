import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../support/installation.js";

let gatehouse: Installation;
const ALLOWED = "http://localhost:8000";

beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
});

afterAll(() => gatehouse.close());

const words = (header: unknown): string[] => String(header).split(/,\s*/).sort();

describe.each(["/api/v1/project/default/sources", "/api/v1/jobs", "/api/v1/operations"])(
  "a browser at %s",
  (path) => {
    const preflight = (origin: string) =>
      gatehouse.call("OPTIONS", path, {
        token: null,
        headers: {
          origin,
          "access-control-request-method": "PUT",
          "access-control-request-headers": "authorization, content-type, idempotency-key",
        },
      });

    test("may call it from an origin of the configuration, with credentials: the preflight says so", async () => {
      const { status, headers, text } = await preflight(ALLOWED);
      expect(status).toBe(204);
      expect(text).toBe("");
      expect(headers["access-control-allow-origin"]).toBe(ALLOWED);
      expect(headers["access-control-allow-credentials"]).toBe("true");
      expect(words(headers["access-control-allow-methods"])).toEqual(
        ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].sort(),
      );
      expect(words(headers["access-control-allow-headers"])).toEqual(
        expect.arrayContaining(
          ["Origin", "Content-Type", "Accept", "Authorization", "Idempotency-Key", "Prefer"].sort(),
        ),
      );
      expect(words(headers["vary"])).toContain("Origin");
    });

    test.each(["http://localhost:8001", "https://evil.example", "null"])(
      "may not from %s",
      async (origin) => {
        expect((await preflight(origin)).headers["access-control-allow-origin"]).toBeUndefined();
        const answer = await gatehouse.call("GET", path, { headers: { origin } });
        expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
      },
    );

    test("reads answers and errors alike, with the headers that tell where work is", async () => {
      const answers = [
        await gatehouse.call("GET", path, { headers: { origin: ALLOWED } }),
        await gatehouse.call("GET", path, { token: null, headers: { origin: ALLOWED } }),
        await gatehouse.call("GET", `${path}/no-such-thing`, { headers: { origin: ALLOWED } }),
      ];
      expect(answers.map(({ status }) => status)).toEqual([200, 401, 404]);
      for (const { headers } of answers) {
        expect(headers["access-control-allow-origin"]).toBe(ALLOWED);
        expect(headers["access-control-allow-credentials"]).toBe("true");
        expect(words(headers["access-control-expose-headers"])).toEqual(
          expect.arrayContaining(["Location", "Operation-Location", "Retry-After"]),
        );
      }
    });
  },
);
