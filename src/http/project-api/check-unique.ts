import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import type { Services } from "../services.js";
import { ProjectParams } from "./params.js";
import { envelope, Name, projectFailures } from "./wire.js";

/** Whether a name is still free, before a form is sent. */
export const checkUniqueRoute: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.post(
    "/check-unique",
    {
      config: { scopes: ["job:read"] },
      schema: {
        operationId: "checkUnique",
        summary: "Whether a name is free in the project",
        tags: ["jobs"],
        params: ProjectParams,
        body: Type.Object({ name: Name, entity_type: Type.Enum(["job", "source", "destination"]) }),
        response: { 200: envelope(Type.Object({ unique: Type.Boolean() })), ...projectFailures() },
      },
    },
    async ({ principal, params, body }) => {
      const project = await services.projects.find(principal, params.projectid);
      const { name, entity_type: kind } = body;
      const unique =
        kind === "job"
          ? await services.jobs.nameIsFree(project, name)
          : await services.connections.nameIsFree(project, kind, name);
      return { unique };
    },
  );
};
