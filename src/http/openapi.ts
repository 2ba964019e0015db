import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { ALL_SCOPES, SERVICE } from "../auth/scopes.js";
import { finishDocument } from "./openapi-document.js";

const DESCRIPTION = `An OAuth2 client-credentials gateway in front of a jobs and deployments API.

Get a token from \`/oauth/token\`, send it as \`Authorization: Bearer\`, start work, and poll the operation that
\`Operation-Location\` names until it is \`done\`. The same jobs are seen through every API that shows jobs:
\`/api/v1\` (the core API: RFC 9457 problems, cursors) and \`/api/v1/project/{projectid}\` (the project API:
\`{success, message, data}\`, integer ids).`;

const TAGS = [
  { name: "tokens", description: "OAuth 2.0 tokens and keys." },
  { name: "operations", description: "Accepted asynchronous work." },
  { name: "jobs", description: "Versioned dataflow graphs." },
  { name: "runs", description: "Executions of jobs, their steps and logs." },
  { name: "sources", description: "Where jobs read." },
  { name: "destinations", description: "Where jobs write." },
  { name: "tasks", description: "Runs as the project API shows them." },
  { name: "projects", description: "Where sources, destinations and jobs live." },
  { name: "clients", description: "Machines: client ids, secrets, scopes and projects." },
  { name: "api clients", description: "Clients as the deployments API shows them." },
  {
    name: "databases",
    description:
      "Database servers. `{engine}/` may be left out of a path, and `/deployments` with it: `/databases/{id}/pause`. Commands are taken by POST as by PUT, bodies as JSON or forms.",
  },
  { name: "snapshots", description: "Stored copies of databases, and archives to take away." },
  { name: "api keys", description: "Static keys, with read and write per topic." },
  { name: "resource servers", description: "Audiences that tokens can be asked for." },
  { name: "users", description: "People of an organization and their roles." },
  { name: "people", description: "Sign-up, login and sessions." },
  { name: "organizations", description: "The tenants, for who runs the installation." },
  { name: "webhooks", description: "Signed messages about operations, their deliveries and tries." },
  { name: "access", description: "Who did what, and what was refused." },
  { name: "health", description: "For load balancers." },
];

const signedHeader = (name: string, description: string) => ({
  ...{ name, in: "header" as const, required: true, description },
  schema: { type: "string" as const },
});

/** What is sent to webhooks. */
const WEBHOOKS = {
  operation: {
    post: {
      operationId: "onOperation",
      summary: "An operation has a new status, or a ping was asked for",
      description: "Any 2xx within 15 s is success; 410 disables the webhook; all else is tried again.",
      tags: ["webhooks"],
      security: [],
      parameters: [
        signedHeader("webhook-id", "The event's id: the same with every try."),
        signedHeader("webhook-timestamp", "Seconds since 1970, of this try."),
        signedHeader(
          "webhook-signature",
          "`v1,` and an HMAC-SHA-256 of `id.timestamp.body`; several with spaces between.",
        ),
      ],
      requestBody: {
        required: true,
        content: { "application/json": { schema: { $ref: "#/components/schemas/WebhookMessage" } } },
      },
      responses: { "204": { description: "Received." }, "410": { description: "No more of it, please." } },
    },
  },
};

const SPECIAL: Readonly<Record<string, string>> = {
  "production:destructive": "Also delete and overwrite in production projects.",
  "platform:admin": "Also manage organizations.",
  "platform:metrics": "Also read the metrics of the whole installation.",
};

const SCOPES = Object.fromEntries([
  [SERVICE, "Everything of the tenant."],
  ...ALL_SCOPES.map((scope) => [scope, SPECIAL[scope] ?? scope.split(":").reverse().join(" ")]),
]);

/** Collects the routes' schemas into one document; registered before any route. */
export const openapiPlugin = fp(
  async (app: FastifyInstance, { version }: { version: string }) => {
    await app.register(swagger, {
      openapi: {
        openapi: "3.1.0",
        info: {
          title: "Gatehouse",
          version,
          description: DESCRIPTION,
          license: { name: "Apache-2.0", identifier: "Apache-2.0" },
        },
        servers: [{ url: "http://localhost:8080", description: "What `npm start` serves." }],
        tags: TAGS,
        webhooks: WEBHOOKS,
        components: {
          securitySchemes: {
            oauth2: {
              type: "oauth2",
              description: "Client credentials; the token is a bearer token.",
              flows: { clientCredentials: { tokenUrl: "/oauth/token", scopes: SCOPES } },
            },
            bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
          },
        },
      },
      refResolver: {
        buildLocalReference: (json, _baseUri, _fragment, index) => String(json["$id"] ?? `schema-${index}`),
      },
      transform: ({ schema, url, route }) => {
        const { scopes } = route.config ?? {};
        const security = scopes === undefined ? [] : [{ oauth2: [...scopes] }, { bearer: [] }];
        return { schema: { ...schema, security } as typeof schema, url };
      },
      transformObject: (document) =>
        "openapiObject" in document ? finishDocument(document.openapiObject) : {},
    });
  },
  { name: "openapi" },
);
