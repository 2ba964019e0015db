import { invalid } from "../../platform/errors.js";

/** What can be heard of operations, in the order in which it happens. */
export const OPERATION_EVENTS = [
  "operation.accepted",
  "operation.started",
  "operation.cancelling",
  "operation.succeeded",
  "operation.failed",
  "operation.cancelled",
] as const;

/** What a webhook may ask for: single events, those of a kind, or all. */
export const EVENT_FILTERS = ["*", "operation.*", ...OPERATION_EVENTS] as const;

/** Sent when somebody asks for it, whatever the webhook asked for. */
export const PING = "webhook.ping";

/** Longer ones some receivers and proxies refuse. */
export const MAX_URL = 2_000;

/**
 * The URL in its one spelling. Throws an invalid request where it is none that can be delivered to. Which addresses
 * may be reached is decided with every try: names can lead elsewhere later.
 * @param path names it in the error
 */
export function checkWebhookUrl(text: string, path: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const message =
    url === null || (url.protocol !== "https:" && url.protocol !== "http:")
      ? "must be an absolute http or https URL"
      : url.username !== "" || url.password !== ""
        ? "must hold no user name and no password: the signature tells who sends"
        : url.hash !== ""
          ? "must hold no fragment"
          : url.href.length > MAX_URL
            ? `must be at most ${MAX_URL} characters`
            : null;
  if (url === null || message !== null)
    throw invalid(`${path} ${message}`, [{ path, message: message ?? "" }]);
  return url.href;
}
