/** Names of JSON fields whose values are secrets, in requests and in answers. */
const SECRET_FIELDS =
  /^(client_?secret|(webhook_)?secret|apiKey|access_token|password|(current|new)_password|csrfToken|token|bootstrap_token)$/i;
/** Shorter ones stand in texts by chance. */
const SHORTEST = 12;
/** What stands for a secret in answers is none. */
const MASK = /^\*+$/;

/** Remembers every secret that a test run used, and says where one was told that should not have been. */
export class UsedSecrets {
  readonly #values = new Set<string>();

  add(value: string | null): void {
    if (value !== null && value.length >= SHORTEST && !MASK.test(value)) this.#values.add(value);
  }

  /** Adds what the secret fields of a JSON value hold, however deep. */
  addFrom(value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    for (const [name, member] of Object.entries(value)) {
      if (typeof member === "string" && SECRET_FIELDS.test(name)) this.add(member);
      else this.addFrom(member);
    }
  }

  /** The texts that hold one. */
  toldIn(texts: readonly string[]): string[] {
    const values = [...this.#values];
    return texts.filter((text) => values.some((value) => text.includes(value)));
  }
}
