import type {
  ConnectorConfig,
  ConnectorContext,
  DestinationConnector,
  DestinationWriter,
  Fence,
} from "../connector.js";
import { type Dialer, Session } from "./client.js";
import { DESTINATION_SPEC, schemaOf, serverOf } from "./config.js";
import { explain, type Place } from "./errors.js";
import { makeStateTable, StateTable } from "./state.js";
import { Writer } from "./writer.js";

/**
 * A stopped process must not hold locks on users' tables for ever: the server ends its session when it idles
 * within a transaction. Shorter than a lease and than others wait for a lock, so that a newer attempt gets through.
 */
const IDLE_IN_TRANSACTION_MS = 5_000;

/** Writes tables into a schema of a PostgreSQL database. */
export function createDestination(dialer: Dialer): DestinationConnector {
  return {
    spec: DESTINATION_SPEC,
    check: (config, context) => check(dialer, config, context),
    open: (config, fence, context) => open(dialer, config, fence, context),
  };
}

class RollBack extends Error {}

/** Does what a first run does, and rolls it back. */
async function check(dialer: Dialer, config: ConnectorConfig, context: ConnectorContext): Promise<void> {
  const place: Place = { server: serverOf(config) };
  let session: Session | undefined;
  try {
    const opened = await Session.open(dialer, place.server, context.signal, IDLE_IN_TRANSACTION_MS);
    session = opened;
    await opened.transaction(async () => {
      await makeStateTable(opened, schemaOf(config));
      throw new RollBack();
    });
  } catch (error) {
    if (!(error instanceof RollBack)) throw explain(error, place, context.signal);
  } finally {
    await session?.close();
  }
}

async function open(
  dialer: Dialer,
  config: ConnectorConfig,
  fence: Fence,
  context: ConnectorContext,
): Promise<DestinationWriter> {
  const server = serverOf(config);
  const schema = schemaOf(config);
  const dial = (signal: AbortSignal) => Session.open(dialer, server, signal, IDLE_IN_TRANSACTION_MS);
  let session: Session | undefined;
  try {
    session = await dial(context.signal);
    const states = new StateTable(session, schema, fence);
    const state = await states.take();
    return new Writer({ session, dial, place: { server }, schema, fence, context, states }, state);
  } catch (error) {
    await session?.close();
    throw explain(error, { server }, context.signal);
  }
}
