/** Error codes of RFC 6749 section 5.2, RFC 8707 section 2 and RFC 9449 section 5, as far as they arise here. */
export type OAuthErrorCode =
  | "invalid_request"
  | "invalid_client"
  | "invalid_grant"
  | "invalid_scope"
  | "invalid_target"
  | "invalid_dpop_proof"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "temporarily_unavailable";

const STATUS: Readonly<Record<OAuthErrorCode, number>> = {
  invalid_request: 400,
  invalid_client: 401,
  invalid_grant: 400,
  invalid_scope: 400,
  invalid_target: 400,
  invalid_dpop_proof: 400,
  unauthorized_client: 400,
  unsupported_grant_type: 400,
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
