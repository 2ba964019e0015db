import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { csrfTokenOf, refuseCrossSite } from "../csrf.js";
import type { Services } from "../services.js";
import { clearSessionCookie, setSessionCookie } from "../session-auth.js";
import { envelopeAnswers } from "./envelope.js";
import { visitOf } from "./people-visit.js";
import {
  CallerWire,
  LoginBody,
  PasswordBody,
  PersonWire,
  publicFailures,
  SignedUpWire,
  SignUpBody,
  toSignUpInput,
} from "./people-wire.js";
import { envelope, Failure, projectFailures } from "./wire.js";

const tags = ["people"];
/** Far more than any of these bodies needs. */
const BODY_LIMIT = 16 * 1024;
const COOKIE_SET = {
  headers: { "Set-Cookie": { type: "string", description: "The session: `gatehouse_session`, HttpOnly." } },
};

/** The project API's people: `/login`, `/signup`, `/logout`, `/auth` and one's own password. */
export async function peopleApi(app: FastifyInstance, options: { services: Services }): Promise<void> {
  // In a scope around that of the routes: where a schema is added, Fastify validates with compilers of its own
  // (schema-controller.js, setupValidator) instead of ours.
  app.addSchema(Failure);
  await app.register(peopleRoutes, options);
}

const peopleRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  const { people, browser } = services;
  envelopeAnswers(app);
  // RFC 9110 section 15.5.2: a 401 says how to authenticate. None of these answers is for any cache.
  app.addHook("onSend", async (_request, reply) => {
    reply.header("cache-control", "no-store");
    if (reply.statusCode === 401 && !reply.hasHeader("www-authenticate"))
      reply.header("www-authenticate", 'Bearer realm="gatehouse"');
  });
  // Public routes have no session that the guard could check: another site's page must not log its visitors in as
  // somebody else, nor sign up in the name of the machine that a browser runs on.
  const fromOwnPages = async (request: Parameters<typeof refuseCrossSite>[1]): Promise<void> =>
    refuseCrossSite(browser.origins, request);

  app.post(
    "/login",
    {
      config: { public: true },
      bodyLimit: BODY_LIMIT,
      onRequest: fromOwnPages,
      schema: {
        operationId: "login",
        summary: "Log in",
        description:
          "Opens a session of a browser. A wrong name, a wrong password, a disabled account and one that is locked after failed logins are one and the same 401. 429 where an address has failed too often.",
        tags,
        body: LoginBody,
        response: { 200: envelope(PersonWire, COOKIE_SET), ...publicFailures(400, 401, 403, 413, 429, 503) },
      },
    },
    async (request, reply) => {
      const { username, password } = request.body;
      const loggedIn = await people.login(username, password, visitOf(request));
      setSessionCookie(reply, browser.cookie, loggedIn.session);
      return { username: loggedIn.username };
    },
  );

  app.post(
    "/signup",
    {
      config: { public: true },
      bodyLimit: BODY_LIMIT,
      onRequest: fromOwnPages,
      schema: {
        operationId: "signUp",
        summary: "Sign up",
        description:
          "The first to sign up owns the installation: from the machine itself, or with the bootstrap token that was printed at the first start. Later ones need ALLOW_SIGNUP=true, and watch; else an administrator creates users.",
        tags,
        body: SignUpBody,
        response: { 200: envelope(SignedUpWire), ...publicFailures(400, 403, 409, 413, 429, 503) },
      },
    },
    async (request) => {
      const input = toSignUpInput(request.body, request.headers["x-bootstrap-token"]);
      const { email, username } = await people.signUp(input, visitOf(request));
      return { email, username };
    },
  );

  app.get(
    "/auth",
    {
      config: { scopes: [] },
      schema: {
        operationId: "getAuth",
        summary: "Who am I",
        description: "Whoever the session, the token or the key stands for.",
        tags,
        response: { 200: envelope(CallerWire), ...projectFailures() },
      },
    },
    async ({ principal, session }) => ({
      username: principal.name,
      kind: principal.kind,
      csrfToken: session === null ? null : csrfTokenOf(session.secret),
    }),
  );

  app.post(
    "/logout",
    {
      config: { scopes: [] },
      schema: {
        operationId: "logout",
        summary: "Log out",
        description:
          "Ends the session that the request came with, at once. Whoever came with a token has no session to end.",
        tags,
        response: { 200: envelope(Type.Null(), COOKIE_SET), ...projectFailures() },
      },
    },
    async (request, reply) => {
      await people.logout(request.principal, {
        ...visitOf(request),
        sessionSecret: request.session?.secret ?? null,
      });
      clearSessionCookie(reply, browser.cookie);
      return null;
    },
  );

  app.post(
    "/auth/password",
    {
      config: { scopes: [] },
      bodyLimit: BODY_LIMIT,
      schema: {
        operationId: "changePassword",
        summary: "Change one's own password",
        description:
          "Ends every session and every token of the user; a caller with a session gets a new one. A wrong current password is a 400, and counts as a failed login.",
        tags,
        body: PasswordBody,
        response: { 200: envelope(PersonWire, COOKIE_SET), ...projectFailures(409, 429) },
      },
    },
    async (request, reply) => {
      const { current_password: current, new_password: next } = request.body;
      const session = await people.changePassword(
        request.principal,
        { current, next },
        { ...visitOf(request), sessionSecret: request.session?.secret ?? null },
      );
      if (session !== null) setSessionCookie(reply, browser.cookie, session);
      return { username: request.principal.name };
    },
  );
};
