import { type FieldError, invalid } from "../../platform/errors.js";

export const MAX_USERNAME = 64;
export const MAX_EMAIL = 254;

/** For schemas of requests. An @ would make it an e-mail address. */
export const USERNAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";
/** Something before an @, a domain after it: whether mail arrives there is another matter. */
export const EMAIL_PATTERN = "^[^\\s@\\p{C}]{1,64}@[^\\s@.\\p{C}]+(\\.[^\\s@.\\p{C}]+)*$";

const USERNAME = new RegExp(USERNAME_PATTERN);
const EMAIL = new RegExp(EMAIL_PATTERN, "u");

/** What a person is called; both are unique in the installation. */
export interface PersonNames {
  readonly username: string;
  readonly email: string;
}

/** Both names as they are stored: in lower case, since case makes no other person. Throws naming each fault. */
export function canonicalNames(names: PersonNames): PersonNames {
  const username = names.username.trim().toLowerCase();
  const email = names.email.trim().normalize("NFC").toLowerCase();
  const errors: FieldError[] = [];
  if (!USERNAME.test(username)) {
    errors.push({
      path: "/username",
      message: `must be 1 to ${MAX_USERNAME} letters, digits, dots, dashes or underscores and begin with a letter or digit`,
    });
  }
  if (email.length > MAX_EMAIL || !EMAIL.test(email)) {
    errors.push({ path: "/email", message: `must be an e-mail address of at most ${MAX_EMAIL} characters` });
  }
  if (errors.length > 0) {
    throw invalid(errors.map(({ path, message }) => `${path.slice(1)} ${message}`).join("; "), errors);
  }
  return { username, email };
}

/** By which column a login names its user: only e-mail addresses have an @. */
export function userReference(login: string): { username: string } | { email: string } {
  const text = login.trim().normalize("NFC").toLowerCase();
  return text.includes("@") ? { email: text } : { username: text };
}
