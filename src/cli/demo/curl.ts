/** A value that is sent as it is and printed as a shell variable. */
export class Secret {
  readonly variable: string;
  readonly value: string;

  constructor(variable: string, value: string) {
    this.variable = variable;
    this.value = value;
  }

  toJSON(): string {
    return this.value;
  }
}

/** A request as it is sent, and as it can be repeated by hand. */
export interface DemoRequest {
  readonly method: "GET" | "POST" | "PUT";
  readonly url: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as a form. */
  readonly form?: Readonly<Record<string, string | Secret>>;
  /** Bearer token. */
  readonly token?: string;
}

/** The request as a curl command that can be copied into a shell; the token is `$TOKEN`. */
export function curlOf(request: DemoRequest): string {
  const { method, url, body, form, token } = request;
  const options: string[] = [];
  if (token !== undefined) options.push('-H "Authorization: Bearer $TOKEN"');
  for (const [name, value] of Object.entries(form ?? {})) {
    const text = value instanceof Secret ? mark(value) : value;
    options.push(`--data-urlencode ${quote(`${name}=${text}`)}`);
  }
  if (body !== undefined) {
    options.push("-H 'Content-Type: application/json'", `-d ${quote(JSON.stringify(body, markSecrets))}`);
  }
  const verb = isImplied(request) ? "" : `-X ${method} `;
  return [`curl -sS ${verb}${quote(url)}`, ...options].join(" \\\n  ");
}

/** curl makes a POST of whatever has a body. */
function isImplied({ method, body, form }: DemoRequest): boolean {
  const hasBody = body !== undefined || form !== undefined;
  return method === "GET" ? !hasBody : method === "POST" && hasBody;
}

// Private-use characters around a variable's name: JSON leaves them as they are, and no text here has them.
const MARKED = /\uE000(\w+)\uE001/;

function mark({ variable }: Secret): string {
  return `\uE000${variable}\uE001`;
}

function markSecrets(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  // By now `value` is what toJSON gave.
  const original = this[key];
  return original instanceof Secret ? mark(original) : value;
}

/** A word of the shell: in single quotes, interrupted where a variable stands. */
function quote(text: string): string {
  // With a group in the expression, split gives texts and names in turn.
  const words = text.split(MARKED).map((piece, index) => (index % 2 === 1 ? `"$${piece}"` : inQuotes(piece)));
  return words.filter((word) => word !== "''").join("") || "''";
}

const PLAIN = /^[\w@%+=:,./-]+$/;

function inQuotes(text: string): string {
  return PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
