import { type Static, Type } from "typebox";
import { isDone, type Operation } from "../../operations/operation.js";
import { viewSteps } from "../../operations/view.js";
import { Uuid } from "../schemas/common.js";
import { NullableHttpDate, toHttpDate } from "./wire.js";

const EXAMPLE = {
  id: "0199b3c4-7b01-7c55-9d4b-2f6f1c1f7a10",
  operationType: "deployment.pause",
  databaseId: "0199b3c4-7b00-7c11-8d22-9e33af44b055",
  status: "finished",
  startedAt: 1_795_342_500,
  durationInSeconds: 2.4,
  steps: [
    {
      name: "stop",
      status: "finished",
      startedAt: "Sun, 22 Nov 2026 10:15:00 GMT",
      finishedAt: "Sun, 22 Nov 2026 10:15:02 GMT",
      message: null,
    },
  ],
  error: null,
  result: {},
  nextOperationId: null,
};

const Ended = Type.Enum(["started", "finished", "failed"]);

export const DatabaseOperationWire = Type.Object(
  {
    id: Uuid,
    operationType: Type.String(),
    databaseId: Uuid,
    status: Type.Enum(["started", "finished", "failed"], {
      description: "`failed` also where it was cancelled.",
    }),
    startedAt: Type.Union([
      Type.Integer({ description: "Seconds since 1970-01-01T00:00:00Z." }),
      Type.Null(),
    ]),
    durationInSeconds: Type.Union([Type.Number({ description: "So far, or in all." }), Type.Null()]),
    steps: Type.Array(
      Type.Object({
        name: Type.String(),
        status: Ended,
        startedAt: NullableHttpDate,
        finishedAt: NullableHttpDate,
        message: Type.Union([Type.String(), Type.Null()]),
      }),
    ),
    error: Type.Union([Type.String({ description: "Why it failed." }), Type.Null()]),
    result: Type.Unknown({ description: "What it came to, where it has finished." }),
    nextOperationId: Type.Union([Uuid, Type.Null()]),
    snapshotId: Type.Optional(
      Type.String({ ...Uuid, description: "Of the snapshot that the command made." }),
    ),
    exportId: Type.Optional(Type.String({ ...Uuid, description: "Of the export that the command made." })),
  },
  { $id: "DatabaseOperation", examples: [EXAMPLE] },
);
export type DatabaseOperationWire = Static<typeof DatabaseOperationWire>;

/** What is answered to a command that was accepted. */
export const AcceptedWire = Type.Object(
  { operationId: Uuid },
  {
    $id: "AcceptedCommand",
    additionalProperties: true,
    description: "With the id of what the command makes: `databaseId`, `snapshotId` or `exportId`.",
    examples: [{ operationId: EXAMPLE.id }],
  },
);

const STATUS = {
  pending: "started",
  running: "started",
  cancelling: "started",
  succeeded: "finished",
  failed: "failed",
  cancelled: "failed",
} as const;

/** @param now milliseconds since 1970 */
export function toDatabaseOperationWire(operation: Operation, now: number): DatabaseOperationWire {
  const { id, operationType, status, startedAt, finishedAt, error } = operation;
  const until = finishedAt?.getTime() ?? now;
  const date = (text: string | null): string | null => (text === null ? null : toHttpDate(new Date(text)));
  return {
    id,
    operationType,
    databaseId: operation.resourceId,
    status: STATUS[status],
    startedAt: startedAt === null ? null : Math.floor(startedAt.getTime() / 1_000),
    durationInSeconds: startedAt === null ? null : Math.max(0, until - startedAt.getTime()) / 1_000,
    steps: viewSteps(operation).map((step) => ({
      name: step.name,
      status: STATUS[step.status],
      startedAt: date(step.startedAt),
      finishedAt: date(step.finishedAt),
      message: step.message,
    })),
    error: status === "cancelled" ? "it was cancelled" : (error?.detail ?? null),
    result: isDone(status) ? operation.result : null,
    nextOperationId: operation.nextOperationId,
  };
}
