import { PassThrough, type Readable, Writable } from "node:stream";
import { EngineError } from "../engine.js";
import { ToolError } from "../substrate.js";
import type { PostgresServer } from "./server.js";
import { LOADER, loaderPassword } from "./settings.js";

const DAY_MS = 24 * 3_600_000;

/**
 * An archive of pg_dump's custom format: of one moment, whatever is written meanwhile. It is made by the customer's own
 * account, so nothing in the data runs with more rights than that.
 */
export function dumpOf(server: PostgresServer): Readable {
  const archive = new PassThrough();
  server
    .running(() => dump(server, archive))
    .then(
      () => archive.end(),
      (error: Error) => archive.destroy(error),
    );
  return archive;
}

async function dump(server: PostgresServer, archive: PassThrough): Promise<void> {
  const { instance, programs, context } = server;
  const { username } = instance.credentials;
  try {
    await instance.place.run(
      {
        program: programs.dump,
        args: ["--format=custom", "--compress=1", `--role=${username}`, ...connection(server, username)],
        env: secrets(server),
        timeoutMs: DAY_MS,
        stdout: relay(archive),
      },
      context.signal,
    );
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw await server.faultOf(
      error,
      (why) => new EngineError("failed", `the data could not be copied: ${why}`, { cause: error }),
    );
  }
}

/** Where a tool finds the database. */
export function connection({ instance: { place } }: PostgresServer, database: string): string[] {
  return [
    ...[`--host=${place.socketFolder}`, `--port=${place.port}`],
    ...[`--username=${LOADER}`, "--no-password", `--dbname=${database}`],
  ];
}

export function secrets({ instance: { credentials } }: PostgresServer): Record<string, string> {
  return { PGPASSWORD: loaderPassword(credentials), PGAPPNAME: "gatehouse" };
}

/** Passes everything on but the end: that it was all is known when the tool has ended well. */
function relay(to: PassThrough): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (to.destroyed) done(new Error("nobody reads the archive any more"));
      else if (to.write(chunk)) done();
      else {
        const go = (): void => {
          to.off("drain", go);
          to.off("close", go);
          done();
        };
        to.once("drain", go);
        to.once("close", go);
      }
    },
  });
}
