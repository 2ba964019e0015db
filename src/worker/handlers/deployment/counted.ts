import { Readable } from "node:stream";
import type { HandlerContext } from "../../handler.js";

/** The same bytes; how many have passed is the operation's progress, measured where it is known how many there are. */
export function counted(context: HandlerContext, bytes: Readable, total: number | null = null): Readable {
  let passed = 0;
  const since = new Date().toISOString();
  const tell = (): void => {
    const share = total === null || total === 0 ? null : Math.min(1, passed / total);
    context.progress({
      percent: Math.floor(5 + 85 * (share ?? 0.5)),
      message: `${passed} bytes${total === null ? "" : ` of ${total}`}`,
      bytes: passed,
      ...(share === null ? {} : { measured: { since, share } }),
    });
  };
  const watched = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of bytes) {
      passed += (chunk as Buffer).length;
      tell();
      yield chunk as Buffer;
    }
  };
  return Readable.from(watched(), { objectMode: false, signal: context.signal });
}
