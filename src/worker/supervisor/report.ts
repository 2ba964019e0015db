import type { RegionReport } from "../../domain/deployments/regions.js";
import type { Site } from "../handlers/deployment/deps.js";

/**
 * What a region can run now.
 * @param used ports of its own deployments
 */
export async function reportOf(
  { region, substrate, engines }: Site,
  used: ReadonlySet<number>,
  reportedBy: string,
): Promise<RegionReport> {
  const { from, to } = region.ports;
  const blockedPorts = [...(await substrate.listening())].filter(
    (port) => from <= port && port <= to && !used.has(port),
  );
  const found = [...engines.values()].map((engine) => ({
    engine: engine.name,
    versions: substrate.missing === null ? engine.versions : [],
    extras: engine.extras,
    missing: substrate.missing ?? engine.missing,
  }));
  return { region: region.name, engines: found, blockedPorts, reportedBy };
}
