import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { loadConfig } from "../../src/config.js";
import { ROOT } from "./server.js";

const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");

/** The variables that the configuration reads, as it asks for them. */
function knownVariables(): string[] {
  const asked = new Set<string>();
  const env = new Proxy<Record<string, string | undefined>>(
    {},
    {
      get: (_target, name) => {
        asked.add(String(name));
        return undefined;
      },
    },
  );
  loadConfig(env, ROOT);
  return [...asked];
}

/** Those of compose.yaml alone, and of the demo. */
const NOT_THE_SERVERS = ["POSTGRES_PASSWORD", "CLIENT_ID", "CLIENT_SECRET", "DEMO_DATABASE_URL"];

/** Read by Node.js itself. */
const NODES_OWN = ["UV_THREADPOOL_SIZE"];

interface Row {
  readonly name: string;
  readonly byDefault: string;
}

function rowsOfTable(): Row[] {
  const rows = [...read("README.md").matchAll(/^\| `([A-Z][A-Z0-9_]+)` \| ([^|]*) \|/gm)];
  return rows.map(([, name = "", byDefault = ""]) => ({ name, byDefault: byDefault.trim() }));
}

describe("the configuration table of README.md", () => {
  test("lists every variable of the configuration, and no other", () => {
    const listed = rowsOfTable().map(({ name }) => name);
    expect(listed.sort()).toEqual(knownVariables().sort());
  });

  test("says the defaults that hold: setting one changes nothing", () => {
    const unset = loadConfig({}, ROOT);
    const literal = rowsOfTable().filter(({ byDefault }) => /^`[^`]+`$/.test(byDefault));
    expect(literal.length).toBeGreaterThan(5);
    for (const { name, byDefault } of literal) {
      expect(loadConfig({ [name]: byDefault.slice(1, -1) }, ROOT), name).toEqual(unset);
    }
  });
});

test("every variable in .env.example is one that is read", () => {
  const names = [...read(".env.example").matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name);
  expect(names.length).toBeGreaterThan(5);
  for (const name of names) expect([...knownVariables(), ...NOT_THE_SERVERS]).toContain(name);
});

describe("compose.yaml", () => {
  interface Service {
    readonly environment: Record<string, string>;
    readonly command: string[];
    readonly healthcheck?: object;
  }
  const text = read("compose.yaml");
  const { services, volumes } = parse(text, { merge: true }) as {
    services: Record<string, Service & { volumes: string[] }>;
    volumes: Record<string, unknown>;
  };

  test("sets and asks for variables that are read", () => {
    const set = [services["api"], services["worker"]].flatMap((one) => Object.keys(one?.environment ?? {}));
    for (const name of set) expect([...knownVariables(), ...NODES_OWN]).toContain(name);
    const asked = [...text.matchAll(/\$\{([A-Z_]+)/g)].map(([, name]) => name);
    for (const name of asked) expect([...knownVariables(), ...NOT_THE_SERVERS]).toContain(name);
  });

  test("has a configuration that the server accepts once its secrets are set", () => {
    const secrets: Record<string, string> = {
      POSTGRES_PASSWORD: "0123456789abcdef",
      GATEHOUSE_MASTER_KEY: Buffer.alloc(32).toString("base64"),
      BOOTSTRAP_CLIENT_ID: "administrator",
      BOOTSTRAP_CLIENT_SECRET: "a-secret-of-forty-three-characters-in-length",
    };
    for (const role of ["api", "worker"]) {
      const environment = services[role]?.environment ?? {};
      const env = Object.fromEntries(
        Object.entries(environment).map(([name, value]) => [name, interpolate(String(value), secrets)]),
      );
      const config = loadConfig(env, ROOT);
      expect(config).toMatchObject({ host: "0.0.0.0", port: 8080, publicUrl: "http://localhost:8080" });
      expect(config.databaseUrl).toBe("postgresql://gatehouse:0123456789abcdef@postgres:5432/gatehouse");
      expect(config.redisUrl).toBe("redis://redis:6379");
    }
  });

  test("refuses to start without its secrets", () => {
    for (const name of ["POSTGRES_PASSWORD", "GATEHOUSE_MASTER_KEY", "BOOTSTRAP_CLIENT_SECRET"]) {
      expect(text).toMatch(new RegExp(`\\$\\{${name}:\\?[^}]+\\}`));
      expect(text).not.toMatch(new RegExp(`\\$\\{${name}(:-|\\})`));
    }
  });

  test("runs one role per service, watches every one, and keeps its data in named volumes", () => {
    expect(services["api"]?.command).toEqual(["api"]);
    expect(services["worker"]?.command).toEqual(["worker"]);
    for (const name of ["postgres", "redis"]) expect(services[name]?.healthcheck).toHaveProperty("test");
    const { environment = {}, healthcheck } = services["worker"] ?? {};
    expect(JSON.stringify(healthcheck)).toContain(`http://127.0.0.1:${environment["METRICS_PORT"]}/readyz`);
    for (const { volumes: mounted } of Object.values(services)) {
      for (const mount of mounted) expect(Object.keys(volumes)).toContain(mount.split(":")[0]);
    }
  });
});

/** `${NAME}`, `${NAME:?message}` and `${NAME:-default}`, the innermost first. */
function interpolate(text: string, env: Readonly<Record<string, string>>): string {
  const replaced = text.replace(
    /\$\{([A-Z_]+)(?::([-?])([^${}]*))?\}/g,
    (_whole, name: string, kind: string | undefined, rest: string | undefined) =>
      env[name] ?? (kind === "-" ? (rest ?? "") : ""),
  );
  return replaced === text ? text : interpolate(replaced, env);
}
