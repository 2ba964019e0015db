import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import type { Services } from "../services.js";
import { deploymentsFailures } from "./wire.js";

const Version = Type.Object({
  id: Type.String({ description: "What a new database names as `version`." }),
  number: Type.String(),
  engine: Type.String(),
  edition: Type.String(),
  vendor: Type.String(),
  regions: Type.Array(Type.String({ description: "Where it can be run." })),
});

const Plan = Type.Object({
  id: Type.String(),
  name: Type.String(),
  description: Type.String(),
  memoryBytes: Type.Integer(),
  storageBytes: Type.Integer(),
  connections: Type.Integer(),
  snapshots: Type.Integer({ description: "How many are kept." }),
  engines: Type.Union([Type.Array(Type.String()), Type.Null()], {
    description: "Engines that it is for; null: all.",
  }),
});

const Region = Type.Object({
  id: Type.String(),
  name: Type.String(),
  description: Type.String(),
  domainName: Type.String(),
  available: Type.Boolean({ description: "Whether its workers have been heard of lately." }),
  engines: Type.Array(
    Type.Object({
      engine: Type.String(),
      versions: Type.Array(Type.String()),
      extras: Type.Array(Type.String()),
      missing: Type.Union([
        Type.String({ description: "What to install, where it cannot be run." }),
        Type.Null(),
      ]),
    }),
  ),
});

const config = { scopes: ["catalog:read"] } as const;
const tags = ["databases"];

/** What there is to choose from. */
export const catalogRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  const { catalog } = services.deployments;

  app.get(
    "/deployments/versions",
    {
      config,
      schema: {
        operationId: "listDatabaseVersions",
        summary: "List the versions of database servers that can be run",
        description:
          "Only what a region's machine can really run; `GET /deployments/regions` says what is missing.",
        tags,
        response: {
          200: Type.Array(Version, {
            examples: [
              [
                {
                  ...{ id: "15.18", number: "15.18", engine: "postgres", edition: "community" },
                  ...{ vendor: "PostgreSQL", regions: ["local"] },
                },
              ],
            ],
          }),
          ...deploymentsFailures(),
        },
      },
    },
    async () =>
      (await catalog.versions()).map(({ number, regions, ...version }) => ({
        ...version,
        id: number,
        number,
        regions: [...regions],
      })),
  );

  app.get(
    "/deployments/plans",
    {
      config,
      schema: {
        operationId: "listDatabasePlans",
        summary: "List the plans",
        tags,
        response: {
          200: Type.Array(Plan, {
            examples: [
              [
                {
                  ...{ id: "ds1", name: "ds1", description: "256 MiB of memory, 2 GiB of storage" },
                  ...{ memoryBytes: 268_435_456, storageBytes: 2_147_483_648 },
                  ...{ connections: 50, snapshots: 3, engines: null },
                },
              ],
            ],
          }),
          ...deploymentsFailures(),
        },
      },
    },
    async () =>
      catalog.plans.map(({ daysAfterEnd: _, engines, ...plan }) => ({
        ...plan,
        name: plan.id,
        engines: engines === null ? null : [...engines],
      })),
  );

  app.get(
    "/deployments/regions",
    {
      config,
      schema: {
        operationId: "listDatabaseRegions",
        summary: "List the regions, and what each can run",
        tags,
        response: { 200: Type.Array(Region), ...deploymentsFailures() },
      },
    },
    async () =>
      (await catalog.regions()).map(({ name, description, domainName, available, engines }) => ({
        ...{ id: name, name, description, domainName, available },
        engines: engines.map(({ engine, versions, extras, missing }) => ({
          ...{ engine, missing, extras: [...extras] },
          versions: versions.map(({ number }) => number),
        })),
      })),
  );
};
