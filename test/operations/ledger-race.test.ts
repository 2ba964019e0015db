import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { IdempotencyKeys } from "../../src/operations/idempotency.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { assertHistories, ONCE } from "./histories.js";
import { type Move, Race } from "./ledger-race.js";
import { type LedgerBench, openLedger, wish } from "./support.js";

let bench: LedgerBench;
beforeAll(async () => {
  // Fewer slots than actors: some are always waited for.
  bench = await openLedger({ concurrency: 2 });
});
afterAll(() => bench.close());

// What happened at the same time does not come back: less of it shows nothing.
const HISTORIES = { numRuns: 40, endOnFailure: true };

const move: fc.Arbitrary<Move> = fc.record({
  do: fc.constantFrom(
    ...(["request", "claim", "claim", "claim", "write", "write", "renew", "progress"] as const),
    ...(["hand over", "expire", "expire", "cancel", "finish", "finish"] as const),
  ),
  on: fc.nat(11),
  locks: fc.uniqueArray(fc.nat(2), { maxLength: 3 }),
  ending: fc.constantFrom("succeeded", "failed", "cancelled"),
});

test(
  "of actors that race, one at a time has an operation, none writes late, and locks go from hand to hand",
  ONCE,
  async () => {
    const actors = fc.array(fc.array(move, { minLength: 5, maxLength: 15, size: "max" }), {
      minLength: 3,
      maxLength: 8,
      size: "max",
    });
    await assertHistories(
      fc.asyncProperty(actors, async (moves) => {
        const race = await Race.open(bench);
        await race.play(
          Array.from({ length: 3 }, (_, i) => ({ do: "request", on: 0, locks: [i], ending: "failed" })),
        );
        await race.watch(Promise.all(moves.map((one) => race.play(one))));
        await race.drain();
        expect(await race.faults()).toEqual([]);
      }),
      HISTORIES,
    );
  },
);

test("of requests that race under one key, one is accepted and all are answered with it", ONCE, async () => {
  const keys = new IdempotencyKeys(bench.db, new MasterKey(MasterKey.generate()));
  /** Whether the process dies before it commits. */
  const requests = fc.array(fc.boolean(), { minLength: 2, maxLength: 10 });
  await assertHistories(
    fc.asyncProperty(requests, async (deaths) => {
      const id = Buffer.from(newId());
      const request = { id, requestHash: Buffer.from("the same"), method: "POST", path: "/", projects: null };
      const accepted: string[] = [];
      const send = async (dies: boolean): Promise<void> => {
        const operationId = await bench.db.transaction(async (tx) => {
          const operation = await bench.ledger.request(tx, wish());
          const answer = { status: 202, headers: {}, body: operation.id };
          if (!(await keys.keep(tx, request, newId(), answer))) throw new Late();
          if (dies) throw new Died();
          return operation.id;
        });
        accepted.push(operationId);
      };
      await Promise.all(
        deaths.map((dies) =>
          send(dies).catch((error: unknown) => {
            if (!(error instanceof Late || error instanceof Died)) throw error;
          }),
        ),
      );
      const lives = deaths.some((dies) => !dies);
      expect(accepted).toHaveLength(lives ? 1 : 0);
      expect((await keys.find(id))?.answer?.body).toBe(accepted[0]);
    }),
    HISTORIES,
  );
});

class Late extends Error {}
class Died extends Error {}
