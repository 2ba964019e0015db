import { type Static, Type } from "typebox";
import type { ArchiveView } from "../../domain/deployments/download.js";
import type { ScheduleView } from "../../domain/deployments/snapshot-schedules.js";
import type { SnapshotView } from "../../domain/deployments/snapshots.js";
import { OVERLAPS } from "../../domain/schedules/engine.js";
import { Uuid } from "../schemas/common.js";
import { HttpDate, NullableHttpDate, toHttpDate } from "./wire.js";

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const Archive = {
  id: Uuid,
  databaseId: Uuid,
  state: Type.Enum(["creating", "available"]),
  engine: Type.String(),
  version: Type.String(),
  bytes: nullable(Type.Integer()),
  sha256: nullable(Type.String({ description: "Of the archive, hexadecimal." })),
  operationId: Uuid,
  createdAt: HttpDate,
  finishedAt: NullableHttpDate,
  expiresAt: NullableHttpDate,
};

const EXAMPLE = {
  id: "0199b3c4-9c00-7c11-8d22-9e33af44b066",
  databaseId: "0199b3c4-7b00-7c11-8d22-9e33af44b055",
  state: "available",
  engine: "graphneo",
  version: "4.16.3",
  bytes: 52_428,
  sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  operationId: "0199b3c4-9c01-7c55-9d4b-2f6f1c1f7a10",
  createdAt: "Sun, 22 Nov 2026 10:15:00 GMT",
  finishedAt: "Sun, 22 Nov 2026 10:15:04 GMT",
  expiresAt: null,
};

export const SnapshotWire = Type.Object(
  {
    ...Archive,
    kind: Type.Enum(["demand", "schedule", "final"], {
      description: "`final`: the last one, of a database that was terminated.",
    }),
  },
  { $id: "DatabaseSnapshot", examples: [{ ...EXAMPLE, kind: "demand" }] },
);

export const ExportWire = Type.Object(Archive, {
  $id: "DatabaseExport",
  examples: [{ ...EXAMPLE, expiresAt: "Mon, 23 Nov 2026 10:15:04 GMT" }],
});

export const Overlap = Type.Enum([...OVERLAPS], {
  description:
    "What happens to a tick while another operation is at work: `skip` lets it pass, `queue` lets one snapshot wait for the end.",
});

export const ScheduleWire = Type.Object(
  {
    databaseId: Uuid,
    cron: Type.String(),
    timezone: Type.String(),
    keep: nullable(Type.Integer({ description: "Null: as many as the plan keeps." })),
    overlap: Overlap,
    nextRunAt: NullableHttpDate,
    queuedAt: Type.Union(NullableHttpDate.anyOf, {
      description: "Since when a snapshot waits for the end; null: none does.",
    }),
    lastSkippedAt: Type.Union(NullableHttpDate.anyOf, {
      description: "When a tick last passed without a snapshot; null: never.",
    }),
    createdAt: HttpDate,
    updatedAt: HttpDate,
  },
  {
    $id: "SnapshotSchedule",
    examples: [
      {
        databaseId: EXAMPLE.databaseId,
        cron: "0 3 * * *",
        timezone: "Europe/Berlin",
        keep: 2,
        overlap: "skip",
        nextRunAt: "Mon, 23 Nov 2026 02:00:00 GMT",
        queuedAt: null,
        lastSkippedAt: null,
        createdAt: EXAMPLE.createdAt,
        updatedAt: EXAMPLE.createdAt,
      },
    ],
  },
);

const dateOrNull = (time: Date | null): string | null => (time === null ? null : toHttpDate(time));

function toArchive(archive: ArchiveView): Static<typeof ExportWire> {
  const { id, state, engine, version, bytes, sha256, operationId } = archive;
  return {
    ...{ id, state, engine, version, bytes, sha256, operationId },
    databaseId: archive.deploymentId,
    createdAt: toHttpDate(archive.createdAt),
    finishedAt: dateOrNull(archive.finishedAt),
    expiresAt: dateOrNull(archive.expiresAt),
  };
}

export function toSnapshotWire(snapshot: SnapshotView): Static<typeof SnapshotWire> {
  return { ...toArchive(snapshot), kind: snapshot.kind };
}

export const toExportWire = toArchive;

export function toScheduleWire(schedule: ScheduleView): Static<typeof ScheduleWire> {
  return {
    databaseId: schedule.deploymentId,
    cron: schedule.cron,
    timezone: schedule.timeZone,
    keep: schedule.keep,
    overlap: schedule.overlap,
    nextRunAt: dateOrNull(schedule.nextRunAt),
    queuedAt: dateOrNull(schedule.queuedAt),
    lastSkippedAt: dateOrNull(schedule.lastSkippedAt),
    createdAt: toHttpDate(schedule.createdAt),
    updatedAt: toHttpDate(schedule.updatedAt),
  };
}
