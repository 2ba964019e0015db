import { type Static, Type } from "typebox";
import { isPending, STATES } from "../../domain/deployments/state.js";
import type { DeploymentView } from "../../domain/deployments/view.js";
import { Uuid } from "../schemas/common.js";
import { HttpDate, NullableHttpDate, toHttpDate } from "./wire.js";

const nullableText = (description: string) => Type.Union([Type.String({ description }), Type.Null()]);

const Status = Type.Object({
  state: Type.Enum([...STATES]),
  needsRestart: Type.Boolean({ description: "A change takes effect with the next restart." }),
  isPending: Type.Boolean({ description: "A command is at work." }),
  isLocked: Type.Boolean({ description: "An operation holds it: other commands are a 409." }),
  currentOperationId: Type.Union([Uuid, Type.Null()]),
  underIncident: Type.Boolean({ description: "Its server does not answer; it is being brought back." }),
  lastHealthCheckStatus: Type.Enum(["healthy", "unhealthy", "unknown"]),
  lastHealthCheckAt: NullableHttpDate,
});

const EXAMPLE = {
  id: "0199b3c4-7b00-7c11-8d22-9e33af44b055",
  organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
  environmentId: "0199b3c0-0a1b-7c2d-8e3f-405162738495",
  environmentType: "development",
  name: "test_db",
  engine: "graphneo",
  domainName: "localhost",
  port: 20_000,
  username: "app",
  connectionUrl: "redis://app:********@localhost:20000",
  createdAt: "Sun, 22 Nov 2026 10:15:00 GMT",
  terminatedAt: null,
  status: {
    state: "running",
    needsRestart: false,
    isPending: false,
    isLocked: false,
    currentOperationId: null,
    underIncident: false,
    lastHealthCheckStatus: "healthy",
    lastHealthCheckAt: "Sun, 22 Nov 2026 10:20:00 GMT",
  },
  plan: "ds1",
  version: { number: "4.16.3", edition: "Valkey 8.0.2", vendor: "FalkorDB" },
  region: "local",
  extras: [],
  storageBytes: 1_048_576,
  nodes: [{ role: "primary", domainName: "localhost", port: 20_000, state: "running" }],
};

export const DatabaseStatusWire = Type.Object(Status.properties, {
  $id: "DatabaseStatus",
  examples: [EXAMPLE.status],
});

export const DatabaseWire = Type.Object(
  {
    id: Uuid,
    organizationId: Uuid,
    environmentId: Uuid,
    environmentType: Type.Enum(["development", "staging", "production"]),
    name: Type.String(),
    engine: Type.String(),
    domainName: nullableText("Where it is; null once it is terminated."),
    port: Type.Union([Type.Integer(), Type.Null()]),
    username: Type.String(),
    connectionUrl: nullableText("The password is masked, unless `reveal=true` was asked."),
    createdAt: HttpDate,
    terminatedAt: NullableHttpDate,
    status: Status,
    plan: Type.String(),
    version: Type.Object({ number: Type.String(), edition: Type.String(), vendor: Type.String() }),
    region: Type.String(),
    extras: Type.Array(Type.String()),
    storageBytes: Type.Union([
      Type.Integer({ description: "What its data takes, as it was last looked at." }),
      Type.Null(),
    ]),
    nodes: Type.Array(
      Type.Object({
        role: Type.String(),
        domainName: Type.String(),
        port: Type.Integer(),
        state: Type.String(),
      }),
    ),
  },
  { $id: "Database", examples: [EXAMPLE] },
);
export type DatabaseWire = Static<typeof DatabaseWire>;

export const CreatedDatabaseWire = Type.Object(
  { database: Type.Ref("Database#"), operationId: Uuid },
  {
    $id: "CreatedDatabase",
    examples: [
      {
        database: {
          ...EXAMPLE,
          status: {
            ...EXAMPLE.status,
            state: "creating",
            isPending: true,
            isLocked: true,
            currentOperationId: "0199b3c4-7b01-7c55-9d4b-2f6f1c1f7a10",
            lastHealthCheckStatus: "unknown",
            lastHealthCheckAt: null,
          },
          storageBytes: null,
        },
        operationId: "0199b3c4-7b01-7c55-9d4b-2f6f1c1f7a10",
      },
    ],
  },
);

export function toStatusWire(database: DeploymentView): DatabaseWire["status"] {
  const { state, needsRestart, underIncident, operationId, healthStatus, healthAt } = database;
  return {
    state,
    needsRestart,
    isPending: isPending(state),
    isLocked: operationId !== null,
    currentOperationId: operationId,
    underIncident,
    lastHealthCheckStatus: healthStatus ?? "unknown",
    lastHealthCheckAt: healthAt === null ? null : toHttpDate(healthAt),
  };
}

export function toDatabaseWire(database: DeploymentView): DatabaseWire {
  const { id, organizationId, name, engine, domainName, port, state } = database;
  return {
    ...{ id, organizationId, name, engine, domainName, port },
    environmentId: database.projectId,
    environmentType: database.environment,
    username: database.username,
    connectionUrl: database.connectionUrl,
    createdAt: toHttpDate(database.createdAt),
    terminatedAt: database.terminatedAt === null ? null : toHttpDate(database.terminatedAt),
    status: toStatusWire(database),
    plan: database.plan,
    version: database.versionView,
    region: database.region,
    extras: [...database.extras],
    storageBytes: database.storageBytes,
    nodes: domainName === null || port === null ? [] : [{ role: "primary", domainName, port, state }],
  };
}
