import { type Static, Type } from "typebox";
import { MAX_EMAIL, MAX_USERNAME } from "../../domain/people/names.js";
import { PASSWORD_LENGTH } from "../../domain/people/passwords.js";
import type { SignUpInput } from "../../domain/people/sign-up.js";
import { failures } from "../schemas/common.js";
import { projectDialect } from "./dialect.js";
import { withExample } from "./wire.js";

/** Longer than any name or password may be; what a login sends is only compared. */
const ANY = { minLength: 1, maxLength: 1_000 } as const;
const GoodPassword = Type.String({
  minLength: PASSWORD_LENGTH.min,
  maxLength: PASSWORD_LENGTH.max,
  description: "Neither the user name nor the e-mail address.",
});

export const LoginBody = withExample(
  Type.Object({
    username: Type.String({
      ...ANY,
      description: "The user name or the e-mail address; case makes no difference.",
    }),
    password: Type.String(ANY),
  }),
  { username: "ada", password: "correct horse battery staple" },
);

export const SignUpBody = withExample(
  Type.Object({
    email: Type.String({ maxLength: MAX_EMAIL }),
    username: Type.String({
      maxLength: MAX_USERNAME,
      description: "Letters, digits, dots, dashes and underscores; kept in lower case.",
    }),
    password: GoodPassword,
    bootstrap_token: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 200,
        description:
          "Printed at the first start: makes the first user the owner, from anywhere. Also taken from the header `X-Bootstrap-Token`.",
      }),
    ),
  }),
  { email: "ada@example.com", username: "ada", password: "correct horse battery staple" },
);

export const PasswordBody = withExample(
  Type.Object({ current_password: Type.String(ANY), new_password: GoodPassword }),
  { current_password: "correct horse battery staple", new_password: "four other words entirely" },
);

export const PersonWire = Type.Object({ username: Type.String() });
export const SignedUpWire = Type.Object({ email: Type.String(), username: Type.String() });
export const CallerWire = Type.Object({
  username: Type.String({ description: "A person's user name; the name of an API client or key." }),
  kind: Type.Enum(["user", "client", "key", "system"]),
  csrfToken: Type.Union([Type.String(), Type.Null()], {
    description:
      "With a session: what the topics API wants in `X-CSRF-Token` with every request that changes something.",
  }),
});

export function toSignUpInput(
  body: Static<typeof SignUpBody>,
  header: string | string[] | undefined,
): SignUpInput {
  const { email, username, password, bootstrap_token: token } = body;
  return { email, username, password, bootstrapToken: token ?? [header].flat()[0] ?? null };
}

/** Failures of routes that anybody may call. */
export function publicFailures(...statuses: (400 | 401 | 403 | 409 | 413 | 429 | 503)[]) {
  return failures({ $ref: "ProjectFailure#" }, projectDialect, statuses);
}
