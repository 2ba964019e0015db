import multipart, { type MultipartFile } from "@fastify/multipart";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Static } from "typebox";
import type { Upload, Uploads } from "../../domain/deployments/uploads.js";
import { AppError, invalid } from "../../platform/errors.js";
import { PreferHeader } from "../prefer.js";
import type { Services } from "../services.js";
import { ACCEPTED, answerAccepted } from "./commands.js";
import { DatabaseParams, type RouteForm, refOf } from "./references.js";

/** Of parts before the archive, which are refused anyway. */
const LIMITS = { fields: 10, fieldNameSize: 100, fieldSize: 1_024, files: 2, parts: 20, headerPairs: 100 };

const FileBody = {
  type: "object",
  required: ["file"],
  properties: {
    file: {
      type: "string",
      contentMediaType: "application/octet-stream",
      description: "The archive: RDB for graphneo; for postgres pg_dump's custom format, or plain SQL.",
    },
  },
} as const;

/** Importing archives, in one of the forms of the routes: a multipart form with one field, `file`. */
export async function importRoutes(
  app: FastifyInstance,
  { services, form }: { services: Services; form: RouteForm },
): Promise<void> {
  // The store of uploads says what is too large.
  await app.register(multipart, { limits: { ...LIMITS, fileSize: Number.POSITIVE_INFINITY } });
  const schema = {
    operationId: "importDatabase",
    summary: "Replace the data by an archive that is sent",
    description:
      "Checked before the old data is touched: a bad archive leaves the database as it was. In a production environment it needs `production:destructive` too. The request may take as long as it goes on.",
    tags: ["databases"],
    params: DatabaseParams,
    headers: PreferHeader,
    consumes: ["multipart/form-data"],
    body: FileBody,
    response: ACCEPTED,
  };
  const config = { scopes: ["deployment:write"], idempotency: "transaction", upload: true } as const;
  // The body is looked at as it comes, and nothing else has to be checked.
  const validatorCompiler = () => () => true;
  const handler = (request: FastifyRequest, reply: FastifyReply) => importArchive(services, request, reply);
  app.put("/:id/import", { config, schema: { ...schema, hide: !form.shown }, validatorCompiler }, handler);
  app.post("/:id/import", { config, schema: { ...schema, hide: true }, validatorCompiler }, handler);
}

async function importArchive(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { archives, uploads } = services.deployments;
  const { principal } = request;
  const database = refOf(request.params as Static<typeof DatabaseParams>);
  if (!request.isMultipart()) {
    throw new AppError(
      "unsupported_media_type",
      "send the archive as multipart/form-data, in a field named file",
    );
  }
  if (request.replayUpload !== null) return replayImport(request, uploads, request.replayUpload);
  return answerAccepted(services, request, reply, {}, async (onAccept) => {
    // Nobody sends gigabytes to be told what could be said before.
    await archives.requireImportable(principal, database);
    const upload = await readUpload(request, uploads);
    request.idempotency?.includeUpload(upload.sha256);
    try {
      return await archives.import(principal, database, upload, onAccept);
    } catch (error) {
      if (error instanceof AppError) await uploads.discard(upload);
      throw error;
    }
  });
}

/**
 * The answer to a key that is known: only the whole archive tells whether it is the first one's. It is read like any
 * other, so the same limits hold, and a chore removes it where the process dies here.
 */
async function replayImport(
  request: FastifyRequest,
  uploads: Uploads,
  replay: (digest: string) => FastifyReply,
): Promise<FastifyReply> {
  const upload = await readUpload(request, uploads);
  await uploads.discard(upload);
  return replay(upload.sha256);
}

/** Stores the one file of a form as it comes. Throws where the form has anything else, or is cut off. */
async function readUpload(request: FastifyRequest, uploads: Uploads): Promise<Upload> {
  let upload: Upload | null = null;
  try {
    for await (const part of request.parts({ preservePath: true })) {
      if (part.type === "field")
        throw fault(`/${part.fieldname}`, "is not a field of this form: send file alone");
      const wrong = faultOf(part, upload);
      if (wrong !== null) {
        part.file.resume();
        throw wrong;
      }
      upload = await uploads.store(part.file);
    }
  } catch (error) {
    if (upload !== null) await uploads.discard(upload);
    throw readable(error);
  }
  if (upload === null) throw fault("/file", "is required: a part with a file name");
  return upload;
}

function faultOf({ fieldname, filename }: MultipartFile, before: Upload | null): AppError | null {
  if (fieldname !== "file") return fault(`/${fieldname}`, "is not a field of this form: send file alone");
  if (before !== null) return fault("/file", "is there twice: send one archive at a time");
  if (/[/\\]/.test(filename)) return fault("/file", "has a path in its file name: send a plain name");
  return null;
}

function fault(path: string, message: string): AppError {
  return invalid(`${path} ${message}`, [{ path, message }]);
}

/** What the parser says of a form that is none, in words for whoever sent it. */
function readable(error: unknown): unknown {
  if (error instanceof AppError) return error;
  const { code, message } = error as { readonly code?: unknown; readonly message: string };
  if (code === "FST_PARTS_LIMIT" || code === "FST_FIELDS_LIMIT" || code === "FST_FILES_LIMIT") {
    return fault("/file", "must be the only part of the form");
  }
  const broken = /multipart|terminated early|boundary|malformed|premature|closed/i.test(message);
  return broken ? invalid(`the form is broken off, or no multipart form: ${message}`) : error;
}
