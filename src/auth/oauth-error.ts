/** The error codes of token requests (RFC 6749 section 5.2, RFC 8707 section 2) that are found before the provider. */
export type OAuthErrorCode =
  | "invalid_request"
  | "invalid_client"
  | "invalid_target"
  | "temporarily_unavailable";

const STATUS: Readonly<Record<OAuthErrorCode, number>> = {
  invalid_request: 400,
  invalid_target: 400,
  invalid_client: 401,
  temporarily_unavailable: 503,
};

/** A token request that fails, in the words of RFC 6749. The description is safe to answer. */
export class OAuthError extends Error {
  readonly code: OAuthErrorCode;
  readonly status: number;

  constructor(
    code: OAuthErrorCode,
    description: string,
    options: { readonly status?: number; readonly cause?: unknown } = {},
  ) {
    super(description, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "OAuthError";
    this.code = code;
    this.status = options.status ?? STATUS[code];
  }
}
