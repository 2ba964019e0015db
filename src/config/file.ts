import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { parseDocument } from "yaml";

/** Settings by section, such as `regions`, each by name; and what is wrong with the files. */
export interface ConfigFile {
  readonly sections: Readonly<Record<string, unknown>>;
  readonly faults: readonly string[];
}

const EXTENSION = /\.(ya?ml|json)$/;

/**
 * Reads GATEHOUSE_CONFIG: one file of YAML or JSON, or a folder of them, whose sections are put together. The same
 * name twice in a section is a fault, so that no file overrules another in silence.
 */
export function readConfigFile(path: string): ConfigFile {
  const sections: Record<string, unknown> = {};
  const faults: string[] = [];
  for (const file of filesOf(path, faults)) {
    const content = parse(file, faults);
    for (const [section, members] of Object.entries(content)) {
      merge(sections, section, members, basename(file), faults);
    }
  }
  return { sections, faults };
}

function filesOf(path: string, faults: string[]): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    // Hidden ones are what editors and volume mounts keep there for themselves.
    const names = readdirSync(path).filter((name) => EXTENSION.test(name) && !name.startsWith("."));
    return names.sort().map((name) => join(path, name));
  } catch (error) {
    faults.push(`GATEHOUSE_CONFIG cannot be read: ${(error as Error).message}`);
    return [];
  }
}

function parse(file: string, faults: string[]): Readonly<Record<string, unknown>> {
  try {
    const document = parseDocument(readFileSync(file, "utf8"));
    for (const { message } of document.errors) faults.push(`${basename(file)}: ${message.split("\n")[0]}`);
    if (document.errors.length > 0) return {};
    const content: unknown = document.toJS();
    if (content === null) return {};
    if (isMembers(content)) return content;
    faults.push(`${basename(file)}: must be an object with sections such as regions and plans`);
  } catch (error) {
    faults.push(`${basename(file)} cannot be read: ${(error as Error).message}`);
  }
  return {};
}

function merge(
  sections: Record<string, unknown>,
  section: string,
  members: unknown,
  file: string,
  faults: string[],
): void {
  const known = sections[section];
  if (!isMembers(known) || !isMembers(members)) {
    if (known !== undefined) faults.push(`${file}: the section ${section} is in another file too`);
    else sections[section] = members;
    return;
  }
  const twice = Object.keys(members).filter((name) => name in known);
  for (const name of twice) faults.push(`${file}: ${section}.${name} is in another file too`);
  sections[section] = { ...known, ...members };
}

function isMembers(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
