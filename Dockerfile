# syntax=docker/dockerfile:1
# One image for every role: `docker run IMAGE [all | api | worker]`.

FROM node:22-bookworm-slim AS build
WORKDIR /app
# Dependencies change less often than sources: a layer of their own.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --include=dev
COPY tsconfig.json prisma.config.ts ./
COPY prisma prisma
COPY scripts scripts
COPY src src
# Generates the Prisma client, links the libraries of the embedded PostgreSQL and compiles.
RUN node scripts/run.mjs setup \
  && npm prune --omit=dev \
  && rm -rf .gatehouse

FROM node:22-bookworm-slim
# tini passes signals on and reaps what the embedded PostgreSQL leaves behind, which process 1 has to do.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends tini \
  && rm -rf /var/lib/apt/lists/* \
  && install --directory --owner=node --group=node --mode=0700 /var/lib/gatehouse \
  && install --directory --owner=node --group=node /files \
  && install --directory --owner=node --group=node /blobs
WORKDIR /app
# Owned by root: the process can read its program and not change it.
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/prisma prisma
COPY examples examples
ENV NODE_ENV=production \
  HOST=0.0.0.0 \
  GATEHOUSE_HOME=/var/lib/gatehouse \
  FILES_ROOT=/files \
  BLOBS_ROOT=/blobs
USER node
VOLUME ["/var/lib/gatehouse", "/files", "/blobs"]
EXPOSE 8080
# Of the roles all and api; a worker answers on METRICS_PORT alone (compose.yaml looks there).
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 8080}/readyz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["tini", "--", "node", "dist/main.js"]
CMD ["all"]
