import { openReceiver, type Received, verify } from "../../webhooks/receiver.js";
import type { ApiClient } from "./client.js";
import type { Random } from "./random.js";
import { CONTROL, type Site } from "./site.js";

/** A receiver that hears of every operation by a webhook, and refuses some messages the first time. */
export interface Witness {
  /** Refuses nothing any more. */
  calm(): void;
  /** That it was told everything, signed, and of each operation in the order in which it happened. */
  check(site: Site): Promise<void>;
  close(): Promise<void>;
}

const REFUSED = 0.05;

export async function openWitness(api: ApiClient, random: Random): Promise<Witness> {
  const receiver = await openReceiver();
  const body = { url: receiver.url, operationTypes: ["sync"] };
  const wish = { name: "create webhook", method: "POST", path: "/api/v1/webhooks", body } as const;
  const answer = await api.send(wish, random);
  if (answer?.status !== 201) throw new Error(`no webhook: ${JSON.stringify(answer?.body)}`);
  const { secret } = answer.body as { secret: string };
  const moods = random.fork();
  const refused = new Set<string>();
  let isCalm = false;
  receiver.answer(({ message }) => {
    if (isCalm || refused.has(message.id) || !moods.chance(REFUSED)) return { status: 200 };
    refused.add(message.id);
    return { status: 500 };
  });
  return {
    calm: () => {
      isCalm = true;
    },
    check: (site) => check(site, secret, receiver.received),
    close: () => receiver.close(),
  };
}

interface Sent {
  readonly id: string;
  readonly status: string;
  /** Ids of the events of its operation, in their order. */
  readonly events: readonly string[];
  readonly types: readonly string[];
}

const SENT = `SELECT o.id, o.status, array_agg(e.id::text ORDER BY d.position) AS events,
    array_agg(e.type ORDER BY d.position) AS types
  FROM operations o LEFT JOIN webhook_deliveries d ON d.operation_id = o.id
    LEFT JOIN webhook_events e ON e.id = d.event_id
  WHERE o.operation_type = 'sync' GROUP BY o.id`;

async function check(
  { server, findings }: Site,
  secret: string,
  received: readonly Received[],
): Promise<void> {
  /** Of each operation the events as they came first: those that come again say nothing new. */
  const heard = new Map<unknown, Set<string>>();
  for (const each of received) {
    try {
      verify(secret, each);
    } catch (error) {
      findings.add(`message ${each.message.id} of a webhook is not signed: ${error}`);
    }
    const { id } = each.message.data;
    heard.set(id, (heard.get(id) ?? new Set()).add(each.message.id));
  }
  for (const { id, status, events, types } of await server.query<Sent>(CONTROL, SENT)) {
    if (types[0] !== "operation.accepted" || types.at(-1) !== `operation.${status}`)
      findings.add(`operation ${id}, ${status}: its events are ${types.join(", ")}`);
    const told = [...(heard.get(id) ?? [])];
    if (told.join() !== events.join())
      findings.add(
        `operation ${id}: the receiver of webhooks heard ${told.join(", ")} instead of ${events.join(", ")} (${types.join(", ")})`,
      );
  }
}
