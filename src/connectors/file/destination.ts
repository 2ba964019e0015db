import { randomBytes } from "node:crypto";
import { mkdir, rmdir } from "node:fs/promises";
import type { ConnectorConfig, DestinationConnector } from "../connector.js";
import { csvWriter } from "./csv-writer.js";
import { configError, errnoOf, storeError } from "./errors.js";
import { Folder } from "./folder.js";
import { JobFolder } from "./job-folder.js";
import { jsonlWriter } from "./jsonl-writer.js";
import { isGlob, type Place, placeOf, type Roots } from "./paths.js";
import type { RowWriterFactory } from "./row-writer.js";
import { type DestinationSettings, destinationSettings, destinationSpec } from "./settings.js";
import { type OnPoint, takeOver } from "./takeover.js";
import { FileWriter } from "./writer.js";

/** The file connector as a destination: a folder with a file per stream. */
export function fileDestination(roots: Roots, onPoint: OnPoint): DestinationConnector {
  return {
    spec: destinationSpec,
    check: async (config) => {
      await check(placeFor(destinationSettings(config), roots));
    },
    open: async (config: ConnectorConfig, fence, context) => {
      const settings = destinationSettings(config);
      const place = placeFor(settings, roots);
      context.signal.throwIfAborted();
      try {
        const job = await JobFolder.open(place, fence.jobId);
        try {
          const takeover = await takeOver(job, fence, onPoint);
          const { format: extension, path } = settings;
          const rowWriter = rowWriterOf(settings);
          return new FileWriter({ job, fence, takeover, extension, rowWriter, context, path, onPoint });
        } catch (error) {
          await job.close();
          throw error;
        }
      } catch (error) {
        throw storeError(error, settings.path);
      }
    },
  };
}

function rowWriterOf(settings: DestinationSettings): RowWriterFactory {
  return settings.format === "jsonl" ? jsonlWriter : csvWriter(settings);
}

function placeFor(settings: DestinationSettings, roots: Roots): Place {
  const place = placeOf(settings.path, roots);
  const { path } = place;
  if (!place.writable) throw configError(`"${path}" is read-only; choose another folder`, { path });
  if (place.names.length === 0) throw configError('"path" must be a folder below the files root', { path });
  if (place.names.some(isGlob))
    throw configError(`"path" of a destination cannot be a pattern: "${path}"`, { path });
  return place;
}

/** Makes and removes a file in the folder, or where the folder is missing, a folder in the nearest that exists. */
async function check(place: Place): Promise<void> {
  const probe = `.gatehouse-check-${randomBytes(8).toString("hex")}`;
  try {
    await mkdir(place.root, { recursive: true });
    const { folder, missing } = await nearest(place);
    try {
      if (missing) {
        await mkdir(folder.at(probe));
        await rmdir(folder.at(probe));
      } else {
        await probeFile(folder, probe);
      }
    } finally {
      await folder.close();
    }
  } catch (error) {
    throw storeError(error, place.path);
  }
}

async function nearest(place: Place): Promise<{ folder: Folder; missing: boolean }> {
  let folder = await Folder.openRoot(place.root, place.label);
  for (const name of place.names) {
    try {
      const next = await folder.folder(name);
      await folder.close();
      folder = next;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return { folder, missing: true };
      await folder.close();
      throw error;
    }
  }
  return { folder, missing: false };
}

async function probeFile(folder: Folder, name: string): Promise<void> {
  const handle = await folder.createFile(name);
  try {
    await handle.writeFile("gatehouse\n");
  } finally {
    await handle.close();
    await folder.remove(name);
  }
}
