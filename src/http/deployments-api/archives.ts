import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import type { FastifyReply } from "fastify";
import { Type } from "typebox";
import type { Download } from "../../domain/deployments/download.js";
import { decodeCursor, ID_POSITION, MAX_LIMIT, PageQuery } from "../pagination.js";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import { ExportWire, SnapshotWire, toExportWire, toSnapshotWire } from "./archives-wire.js";
import { DatabaseParams, ExportParams, idOf, type RouteForm, refOf, SnapshotParams } from "./references.js";
import { deploymentsFailures, linkNextPage, NextPage } from "./wire.js";

const Archive = {
  description: "The archive; `Repr-Digest` has its SHA-256 (RFC 9530).",
  content: { "application/octet-stream": { schema: Type.String({ format: "binary" }) } },
};

/** Sends an archive; whoever goes away before its end lets it go. */
function sendArchive(reply: FastifyReply, { stream, bytes, fileName, sha256 }: Download): FastifyReply {
  return reply
    .type("application/octet-stream")
    .headers({
      "content-length": String(bytes),
      "content-disposition": `attachment; filename="${fileName}"`,
      "repr-digest": `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`,
      "cache-control": "no-store",
    })
    .send(stream);
}

const tags = ["snapshots"];
const read = { scopes: ["snapshot:read"] } as const;
/** All data of a database: not for whoever may only look. */
const take = { scopes: ["snapshot:read", "deployment:write"] } as const;

/** Snapshots and exports of a database, in one of the forms of the routes. */
export const archiveRoutes: FastifyPluginAsyncTypebox<{ services: Services; form: RouteForm }> = async (
  app,
  { services, form },
) => {
  const hide = !form.shown;
  const { service, snapshots, exports } = services.deployments;

  app.get(
    "/:id/snapshots",
    {
      config: read,
      schema: {
        hide,
        operationId: "listDatabaseSnapshots",
        summary: "List the snapshots of a database, newest first",
        description: `Also of one that is terminated. At most ${MAX_LIMIT}; a \`Link\` header leads to more.`,
        tags,
        params: DatabaseParams,
        querystring: Type.Object(PageQuery),
        response: { 200: { ...Type.Array(ref(SnapshotWire)), headers: NextPage }, ...deploymentsFailures() },
      },
    },
    async (request, reply) => {
      const { principal, params, query } = request;
      const { limit = MAX_LIMIT } = query;
      const { id } = await service.get(principal, refOf(params));
      const before = decodeCursor(query.cursor, ID_POSITION);
      const found = await snapshots.list(principal, id, limit + 1, before);
      return linkNextPage(request.url, reply, found, limit).map(toSnapshotWire);
    },
  );

  app.get(
    "/:id/snapshots/:snapshotId",
    {
      config: read,
      schema: {
        hide,
        operationId: "getDatabaseSnapshot",
        summary: "Read one snapshot",
        tags,
        params: SnapshotParams,
        response: { 200: ref(SnapshotWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, params }) =>
      toSnapshotWire(await snapshots.get(principal, refOf(params), idOf(params.snapshotId, "snapshot"))),
  );

  app.get(
    "/:id/snapshots/:snapshotId/download",
    {
      config: take,
      exposeHeadRoute: false,
      schema: {
        hide,
        operationId: "downloadDatabaseSnapshot",
        summary: "Download a snapshot",
        description: "Written to the audit log.",
        tags,
        params: SnapshotParams,
        response: { 200: Archive, ...deploymentsFailures(409) },
      },
    },
    async ({ principal, params }, reply) => {
      const id = idOf(params.snapshotId, "snapshot");
      return sendArchive(reply, await snapshots.download(principal, refOf(params), id));
    },
  );

  app.delete(
    "/:id/snapshots/:snapshotId",
    {
      config: { scopes: ["snapshot:write"] },
      schema: {
        hide,
        operationId: "deleteDatabaseSnapshot",
        summary: "Delete a snapshot",
        description: "In a production environment it needs `production:destructive` too.",
        tags,
        params: SnapshotParams,
        response: { 204: Type.Null({ description: "Deleted." }), ...deploymentsFailures(409) },
      },
    },
    async ({ principal, params }, reply) => {
      await snapshots.delete(principal, refOf(params), idOf(params.snapshotId, "snapshot"));
      return reply.code(204).send(null);
    },
  );

  app.get(
    "/:id/exports",
    {
      config: { scopes: ["deployment:read"] },
      schema: {
        hide,
        operationId: "listDatabaseExports",
        summary: "List the exports of a database, newest first",
        description: `Those that can still be downloaded. At most ${MAX_LIMIT}; a \`Link\` header leads to more.`,
        tags,
        params: DatabaseParams,
        querystring: Type.Object(PageQuery),
        response: { 200: { ...Type.Array(ref(ExportWire)), headers: NextPage }, ...deploymentsFailures() },
      },
    },
    async (request, reply) => {
      const { principal, params, query } = request;
      const { limit = MAX_LIMIT } = query;
      const { id } = await service.get(principal, refOf(params));
      const before = decodeCursor(query.cursor, ID_POSITION);
      const found = await exports.list(principal, id, limit + 1, before);
      return linkNextPage(request.url, reply, found, limit).map(toExportWire);
    },
  );

  app.get(
    "/:id/exports/:exportId",
    {
      config: { scopes: ["deployment:read"] },
      schema: {
        hide,
        operationId: "getDatabaseExport",
        summary: "Read one export",
        tags,
        params: ExportParams,
        response: { 200: ref(ExportWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, params }) =>
      toExportWire(await exports.get(principal, refOf(params), idOf(params.exportId, "export"))),
  );

  app.get(
    "/:id/exports/:exportId/download",
    {
      config: { scopes: ["deployment:write"] },
      exposeHeadRoute: false,
      schema: {
        hide,
        operationId: "downloadDatabaseExport",
        summary: "Download an export",
        description: "Written to the audit log.",
        tags,
        params: ExportParams,
        response: { 200: Archive, ...deploymentsFailures(409) },
      },
    },
    async ({ principal, params }, reply) => {
      const id = idOf(params.exportId, "export");
      return sendArchive(reply, await exports.download(principal, refOf(params), id));
    },
  );
};
