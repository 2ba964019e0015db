import type { Readable } from "node:stream";
import type { Blobs } from "../../platform/blobs.js";
import { BlobError } from "../../platform/blobs.js";
import { AppError, invalid } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import { blobKeyOf } from "./archives.js";
import type { ImportPayload } from "./operations.js";

export type Upload = ImportPayload["upload"];

/** Archives that clients send. One that no operation comes to need is removed by a chore. */
export class Uploads {
  readonly #blobs: Blobs;
  readonly #maxBytes: number;

  constructor(blobs: Blobs, maxBytes: number) {
    this.#blobs = blobs;
    this.#maxBytes = maxBytes;
  }

  /** Stores what comes, as it comes. Throws where it is too large, or nothing at all. */
  async store(content: Readable): Promise<Upload> {
    const blobKey = blobKeyOf("uploads", newId());
    const stored = await this.#blobs.put(blobKey, content, { maxBytes: this.#maxBytes }).catch(refusal);
    if (stored.bytes === 0) {
      await this.#blobs.delete(blobKey);
      throw invalid("/file is empty", [{ path: "/file", message: "is empty" }]);
    }
    return { blobKey, ...stored };
  }

  /** One that is not needed after all. */
  async discard({ blobKey }: Upload): Promise<void> {
    await this.#blobs.delete(blobKey);
  }
}

function refusal(error: unknown): never {
  if (!(error instanceof BlobError)) throw error;
  if (error.reason === "too-large") throw new AppError("payload_too_large", error.message);
  throw new AppError("unavailable", error.message, { cause: error, details: { retryAfter: 60 } });
}
