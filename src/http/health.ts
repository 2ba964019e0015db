import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { AppError } from "../platform/errors.js";
import { DRAINING } from "./health-drain.js";
import { problems } from "./schemas/common.js";

export interface HealthOptions {
  /** Rejects while this process cannot answer requests. */
  readonly ready: () => Promise<void>;
}

const Ok = Type.Object({ status: Type.Literal("ok") });

/** For load balancers and supervisors. */
export const healthRoutes: FastifyPluginAsyncTypebox<HealthOptions> = async (app, { ready }) => {
  app.get(
    "/healthz",
    {
      config: { public: true, untraced: true },
      logLevel: "warn",
      schema: {
        operationId: "getHealth",
        summary: "Whether the process lives",
        tags: ["health"],
        response: { 200: Ok },
      },
    },
    async () => ({ status: "ok" as const }),
  );

  app.get(
    "/readyz",
    {
      config: { public: true, untraced: true },
      logLevel: "warn",
      schema: {
        operationId: "getReadiness",
        summary: "Whether the process can answer requests",
        description:
          "503 also while it is about to stop: what has begun is finished, send the rest elsewhere.",
        tags: ["health"],
        response: { 200: Ok, 503: problems()[503] },
      },
    },
    async () => {
      if (app.drain.draining) throw new AppError("unavailable", DRAINING);
      await ready().catch((cause: unknown) => {
        throw new AppError("unavailable", "not ready: the database cannot be asked", { cause });
      });
      return { status: "ok" as const };
    },
  );
};
