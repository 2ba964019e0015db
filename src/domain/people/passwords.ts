import { randomBytes } from "node:crypto";
import argon2 from "@node-rs/argon2";
import { type FieldError, invalid } from "../../platform/errors.js";
import { Gate } from "./gate.js";

/** Characters, counted as people count them. */
export const PASSWORD_LENGTH = { min: 8, max: 256 } as const;

/**
 * argon2id with 19 MiB, two passes and one lane
 * (https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id).
 */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;

/**
 * Of this process: hashes take turns on two threads of libuv's four, so that logins eat neither the memory nor
 * the threads that files and names need.
 */
const gate = new Gate({ atOnce: 2, waiting: 64 });

/** The hash of no password, to compare with where there is no user: costs what a real one costs. */
const NOBODY = `${hashPrefix()}${unpadded(randomBytes(16))}$${unpadded(randomBytes(32))}`;

/** What every hash of the present parameters begins with (PHC string format). */
function hashPrefix(): string {
  const { memoryCost, timeCost, parallelism } = PARAMETERS;
  return `$argon2id$v=19$m=${memoryCost},t=${timeCost},p=${parallelism}$`;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}

/** The same password typed on another keyboard has the same bytes (NIST SP 800-63B section 3.1.1.2). */
function canonical(plain: string): string {
  return plain.normalize("NFKC");
}

/** Hashes a password for storage (PHC string). Throws `unavailable` where too many wait. */
export function hashPassword(plain: string): Promise<string> {
  return gate.run(() => argon2.hash(canonical(plain), PARAMETERS));
}

/**
 * Whether a password is the one of a hash; false for the hash of nobody (null), after the same work. Throws
 * `unavailable` where too many wait.
 */
export function verifyPassword(stored: string | null, plain: string): Promise<boolean> {
  return gate.run(async () => {
    const matches = await argon2.verify(stored ?? NOBODY, canonical(plain));
    return matches && stored !== null;
  });
}

/** Whether a hash was made with other parameters than new ones are. */
export function isOutdatedHash(stored: string): boolean {
  return !stored.startsWith(hashPrefix());
}

/** Whose password it is to be: what it must not be itself. */
export interface PasswordOwner {
  readonly username: string;
  readonly email: string;
}

/** What is wrong with a new password; nothing where it will do. Never repeats any of it. */
function passwordFaults(plain: string, { username, email }: PasswordOwner, path: string): FieldError[] {
  const length = [...plain].length;
  if (length < PASSWORD_LENGTH.min) {
    return [{ path, message: `must have at least ${PASSWORD_LENGTH.min} characters` }];
  }
  if (length > PASSWORD_LENGTH.max) {
    return [{ path, message: `must have at most ${PASSWORD_LENGTH.max} characters` }];
  }
  const text = canonical(plain).trim().toLowerCase();
  const known = [username, email, email.split("@", 1)[0]];
  if (known.some((name) => name?.toLowerCase() === text)) {
    return [{ path, message: "must not be the user name or the e-mail address" }];
  }
  return [...new Set(text)].length === 1
    ? [{ path, message: "must not be one character over and over" }]
    : [];
}

/**
 * Throws an invalid request where a password breaks the rules for new ones.
 * @param path where it stands in the request
 */
export function requireGoodPassword(plain: string, owner: PasswordOwner, path = "/password"): void {
  const faults = passwordFaults(plain, owner, path);
  const fault = faults[0];
  if (fault !== undefined) throw invalid(`${path.slice(1)} ${fault.message}`, faults);
}
