import { join, resolve } from "node:path";
import { Ajv, type ErrorObject } from "ajv";
import { DEFAULT_PLANS, type Plan } from "./plans.js";
import type { Region } from "./regions.js";

/** Where databases run and what they may use. */
export interface DeploymentsConfig {
  readonly regions: readonly Region[];
  readonly plans: readonly Plan[];
}

/** A name that stands in addresses and in names of queues. */
const NAME = "^[a-z0-9][a-z0-9-]{0,31}$";
const SIZE = /^(\d{1,9}(?:\.\d{1,3})?) ?(MiB|GiB|TiB)$/;
const UNITS: Readonly<Record<string, number>> = { MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 };
const MIB = 1024 ** 2;

const text = { type: "string", minLength: 1, maxLength: 200 } as const;
const size = { type: ["string", "integer"], minimum: MIB, pattern: SIZE.source } as const;
const count = (minimum: number, maximum: number) => ({ type: "integer", minimum, maximum }) as const;
const object = <P extends object, R extends readonly string[]>(properties: P, required: R) =>
  ({ type: "object", properties, required, additionalProperties: false }) as const;
const named = <S extends object>(schema: S) =>
  ({
    type: "object",
    patternProperties: { [NAME]: schema },
    additionalProperties: false,
    minProperties: 1,
  }) as const;

const SUBSTRATE = object(
  { type: { enum: ["process"] }, folder: text, firstUid: count(1_000, 2_000_000_000) },
  ["type"] as const,
);

const SCHEMA = object(
  {
    regions: named(
      object(
        {
          description: text,
          substrate: SUBSTRATE,
          host: text,
          domainName: text,
          ports: { type: "string", pattern: "^\\d{1,5}-\\d{1,5}$" },
        },
        [] as const,
      ),
    ),
    plans: named(
      object(
        {
          description: text,
          memory: size,
          storage: size,
          connections: count(1, 10_000),
          snapshots: count(0, 1_000),
          daysAfterEnd: count(0, 3_650),
          engines: { type: "array", items: text, minItems: 1, maxItems: 20 },
        },
        ["memory", "storage"] as const,
      ),
    ),
  },
  [] as const,
);

interface RegionSettings {
  readonly description?: string;
  readonly substrate?: { readonly type: "process"; readonly folder?: string; readonly firstUid?: number };
  readonly host?: string;
  readonly domainName?: string;
  readonly ports?: string;
}

interface PlanSettings {
  readonly description?: string;
  readonly memory: string | number;
  readonly storage: string | number;
  readonly connections?: number;
  readonly snapshots?: number;
  readonly daysAfterEnd?: number;
  readonly engines?: readonly string[];
}

interface Sections {
  readonly regions?: Readonly<Record<string, RegionSettings>>;
  readonly plans?: Readonly<Record<string, PlanSettings>>;
}

/** What the schema wants, where its own words do not tell. */
const WANTED: Readonly<Record<string, string>> = {
  memory: "a size of at least 1MiB, such as 256MiB or 4GiB",
  storage: "a size of at least 1MiB, such as 2GiB",
  ports: "a range such as 20000-20999",
};

/**
 * The regions and plans that the sections of GATEHOUSE_CONFIG describe; without any, one region `local` on this
 * machine and the plans ds1, ds2, ds3. Every fault is added to `faults`.
 * @param home what a region's folder is below, where it says none
 * @param cwd what relative folders are relative to
 */
export function toDeploymentsConfig(
  sections: Readonly<Record<string, unknown>>,
  { home, cwd }: { readonly home: string; readonly cwd: string },
  faults: string[],
): DeploymentsConfig {
  // What comes to nothing needs no look.
  if (Object.keys(sections).length === 0) return toConfig({}, home, cwd, faults);
  const validate = new Ajv({ allErrors: true, allowUnionTypes: true, verbose: true }).compile<Sections>(
    SCHEMA,
  );
  if (!validate(sections)) {
    for (const error of validate.errors ?? []) faults.push(describe(error));
    return { regions: [], plans: [] };
  }
  return toConfig(sections, home, cwd, faults);
}

function toConfig(sections: Sections, home: string, cwd: string, faults: string[]): DeploymentsConfig {
  const { regions = { local: {} }, plans } = sections;
  const made = Object.entries(regions).map(([name, settings]) => toRegion(name, settings, home, cwd));
  checkPorts(made, faults);
  return Object.freeze({
    regions: Object.freeze(made),
    plans: plans === undefined ? DEFAULT_PLANS : Object.freeze(Object.entries(plans).map(toPlan)),
  });
}

function toRegion(name: string, settings: RegionSettings, home: string, cwd: string): Region {
  const [from = 0, to = 0] = (settings.ports ?? "20000-20999").split("-").map(Number);
  const { folder, firstUid } = settings.substrate ?? {};
  const host = settings.host ?? "127.0.0.1";
  return Object.freeze({
    name,
    description: settings.description ?? name,
    substrate: Object.freeze({
      type: "process",
      folder: folder === undefined ? join(home, "regions", name) : resolve(cwd, folder),
      firstUid: firstUid ?? null,
    }),
    host,
    domainName: settings.domainName ?? (host === "127.0.0.1" ? "localhost" : host),
    ports: Object.freeze({ from, to }),
  });
}

function toPlan([id, settings]: [string, PlanSettings]): Plan {
  return Object.freeze({
    id,
    description: settings.description ?? `${settings.memory} of memory, ${settings.storage} of storage`,
    memoryBytes: bytesOf(settings.memory),
    storageBytes: bytesOf(settings.storage),
    connections: settings.connections ?? 50,
    snapshots: settings.snapshots ?? 3,
    daysAfterEnd: settings.daysAfterEnd ?? 30,
    engines: settings.engines ?? null,
  });
}

function bytesOf(size: string | number): number {
  if (typeof size === "number") return size;
  const [, number = "0", unit = ""] = SIZE.exec(size) ?? [];
  return Math.round(Number(number) * (UNITS[unit] ?? 0));
}

/** A connection URL leads to one database: what has one name has no port twice. */
function checkPorts(regions: readonly Region[], faults: string[]): void {
  for (const [index, { name, ports, domainName }] of regions.entries()) {
    if (ports.from < 1_024 || ports.to > 65_535 || ports.from > ports.to) {
      faults.push(`regions.${name}.ports must be a range between 1024 and 65535, the smaller first`);
    }
    const other = regions
      .slice(0, index)
      .find(
        (one) => one.domainName === domainName && one.ports.from <= ports.to && ports.from <= one.ports.to,
      );
    if (other !== undefined) {
      faults.push(
        `regions.${name}.ports overlap those of regions.${other.name}, and both are called ${domainName}`,
      );
    }
  }
}

function describe({ instancePath, keyword, params, message, parentSchema }: ErrorObject): string {
  const path = instancePath.slice(1).replaceAll("/", ".") || "GATEHOUSE_CONFIG";
  if (keyword === "required") return `${path}.${params["missingProperty"]} is required`;
  if (keyword === "additionalProperties") {
    const { properties } = (parentSchema ?? {}) as { readonly properties?: object };
    const unknown = String(params["additionalProperty"]);
    return properties === undefined
      ? `${path}.${unknown} is no name: a-z 0-9 -, at most 32 characters`
      : `${path}.${unknown} is no setting: there are ${Object.keys(properties).join(", ")}`;
  }
  if (keyword === "enum") return `${path} must be one of ${(params["allowedValues"] as string[]).join(", ")}`;
  const wanted = WANTED[path.split(".").at(-1) ?? ""];
  return `${path} ${wanted === undefined ? message : `must be ${wanted}`}`;
}
