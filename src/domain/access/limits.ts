/** Seconds that a client or a resource server may set for its tokens: a minute to 30 days. */
export const TOKEN_LIFETIME = { minimum: 60, maximum: 2_592_000 } as const;

/** Seconds that an older secret lives on beside a new one: up to 30 days, a day where nothing is said. */
export const GRACE = { minimum: 0, maximum: 2_592_000, default: 86_400 } as const;

/** Secrets of a client that work at the same time: the one in use and the one that replaces it. */
export const MAX_LIVE_SECRETS = 2;
