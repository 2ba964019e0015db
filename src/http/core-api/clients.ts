import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { problems, ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import {
  ClientWire,
  CreateClientBody,
  CreatedClientWire,
  toClientWire,
  UpdateClientBody,
  withDates,
} from "./clients-wire.js";

export const ClientParams = Type.Object({
  id: Type.String({ maxLength: 256, description: "The client's id, or its client_id." }),
});

const tags = ["clients"];
const read = { scopes: ["client:read"] } as const;
const write = { scopes: ["client:write"] } as const;

/** API clients; their secrets stand in `clients-secrets.ts`. */
export const clientRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  const { clients } = services;

  app.post(
    "/clients",
    {
      config: write,
      schema: {
        operationId: "createClient",
        summary: "Create an API client",
        description: "The secret is shown once. Scopes and projects never go beyond the caller's own.",
        tags,
        body: CreateClientBody,
        response: { 201: ref(CreatedClientWire), ...problems() },
      },
    },
    async ({ principal, body }, reply) => {
      const { client, clientSecret } = await clients.create(principal, withDates(body));
      reply.code(201).header("location", `/api/v1/clients/${client.id}`).header("cache-control", "no-store");
      return { ...toClientWire(client), clientSecret };
    },
  );

  app.get(
    "/clients",
    {
      config: read,
      schema: {
        operationId: "listClients",
        summary: "List API clients",
        description: "A caller that is limited to projects sees those that reach no others.",
        tags,
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({
            items: Type.Array(ref(ClientWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const found = await clients.list(principal, limit + 1, decodeCursor(query.cursor, ID_POSITION));
      const { items, nextCursor } = page(found, limit, ({ id }) => id);
      return { items: items.map(toClientWire), nextCursor };
    },
  );

  app.get(
    "/clients/:id",
    {
      config: read,
      schema: {
        operationId: "getClient",
        summary: "Read one API client",
        tags,
        params: ClientParams,
        response: { 200: ref(ClientWire), ...problems() },
      },
    },
    async ({ principal, params }) => toClientWire(await clients.get(principal, params.id)),
  );

  app.patch(
    "/clients/:id",
    {
      config: write,
      schema: {
        operationId: "updateClient",
        summary: "Change an API client",
        description:
          "Changes what is given. Whatever takes something away (a scope, a project, a key, time) ends the tokens that were issued before. Nobody changes a client that may do more than they may.",
        tags,
        params: ClientParams,
        body: UpdateClientBody,
        response: { 200: ref(ClientWire), ...problems() },
      },
    },
    async ({ principal, params, body }) =>
      toClientWire(await clients.update(principal, params.id, withDates(body))),
  );

  app.delete(
    "/clients/:id",
    {
      config: write,
      schema: {
        operationId: "deleteClient",
        summary: "Delete an API client",
        description: "For good, with its secrets and tokens.",
        tags,
        params: ClientParams,
        response: { 204: Type.Null({ description: "Deleted." }), ...problems() },
      },
    },
    async ({ principal, params }, reply) => {
      await clients.delete(principal, params.id);
      return reply.code(204).send(null);
    },
  );

  for (const action of ["disable", "enable"] as const) {
    app.post(
      `/clients/:id/${action}`,
      {
        config: write,
        schema: {
          operationId: `${action}Client`,
          summary: action === "disable" ? "Disable an API client" : "Enable an API client again",
          description:
            action === "disable"
              ? "It gets no tokens, and those that it has are no longer accepted. Repeating it changes nothing."
              : "Tokens from before stay dead. Repeating it changes nothing.",
          tags,
          params: ClientParams,
          response: { 200: ref(ClientWire), ...problems() },
        },
      },
      async ({ principal, params }) => toClientWire(await clients[action](principal, params.id)),
    );
  }
};
