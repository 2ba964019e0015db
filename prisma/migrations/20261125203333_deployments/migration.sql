-- CreateTable
CREATE TABLE "deployments" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "engine" TEXT NOT NULL,
    "version" TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    "region" TEXT NOT NULL,
    "extras" TEXT[],
    "state" TEXT NOT NULL DEFAULT 'creating',
    "desired_state" TEXT NOT NULL DEFAULT 'running',
    "port" INTEGER,
    "slot" INTEGER,
    "username" TEXT NOT NULL,
    "secrets" BYTEA,
    "key_id" TEXT,
    "exchanged_by" UUID,
    "command_count" INTEGER NOT NULL DEFAULT 0,
    "needs_restart" BOOLEAN NOT NULL DEFAULT false,
    "under_incident" BOOLEAN NOT NULL DEFAULT false,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "next_try_at" TIMESTAMPTZ(3),
    "health_status" TEXT,
    "health_at" TIMESTAMPTZ(3),
    "storage_bytes" BIGINT,
    "removed_at" TIMESTAMPTZ(3),
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "terminated_at" TIMESTAMPTZ(3),

    CONSTRAINT "deployments_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "snapshots" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "deployment_id" UUID NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'creating',
    "kind" TEXT NOT NULL,
    "engine" TEXT NOT NULL,
    "version" TEXT NOT NULL,
    "blob_key" TEXT NOT NULL,
    "bytes" BIGINT,
    "sha256" TEXT,
    "operation_id" UUID NOT NULL,
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "finished_at" TIMESTAMPTZ(3),
    "expires_at" TIMESTAMPTZ(3),

    CONSTRAINT "snapshots_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "deployment_exports" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "deployment_id" UUID NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'creating',
    "engine" TEXT NOT NULL,
    "version" TEXT NOT NULL,
    "blob_key" TEXT NOT NULL,
    "bytes" BIGINT,
    "sha256" TEXT,
    "operation_id" UUID NOT NULL,
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "finished_at" TIMESTAMPTZ(3),
    "expires_at" TIMESTAMPTZ(3),

    CONSTRAINT "deployment_exports_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "snapshot_schedules" (
    "deployment_id" UUID NOT NULL,
    "cron" TEXT NOT NULL,
    "time_zone" TEXT NOT NULL DEFAULT 'UTC',
    "keep" INTEGER,
    "next_run_at" TIMESTAMPTZ(3),
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "snapshot_schedules_pkey" PRIMARY KEY ("deployment_id")
);

-- CreateTable
CREATE TABLE "region_reports" (
    "region" TEXT NOT NULL,
    "engines" JSONB NOT NULL,
    "blocked_ports" INTEGER[],
    "reported_by" TEXT NOT NULL,
    "reported_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "region_reports_pkey" PRIMARY KEY ("region")
);

-- CreateTable
CREATE TABLE "region_leases" (
    "region" TEXT NOT NULL,
    "holder" TEXT NOT NULL,
    "term" INTEGER NOT NULL DEFAULT 1,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "region_leases_pkey" PRIMARY KEY ("region")
);

-- CreateIndex
CREATE INDEX "deployments_organization_id_id_idx" ON "deployments"("organization_id", "id");

-- CreateIndex
CREATE INDEX "deployments_project_id_id_idx" ON "deployments"("project_id", "id");

-- CreateIndex
CREATE INDEX "deployments_region_id_idx" ON "deployments"("region", "id");

-- CreateIndex
CREATE INDEX "snapshots_deployment_id_id_idx" ON "snapshots"("deployment_id", "id");

-- CreateIndex
CREATE INDEX "snapshots_state_expires_at_idx" ON "snapshots"("state", "expires_at");

-- CreateIndex
CREATE INDEX "deployment_exports_deployment_id_id_idx" ON "deployment_exports"("deployment_id", "id");

-- CreateIndex
CREATE INDEX "deployment_exports_state_expires_at_idx" ON "deployment_exports"("state", "expires_at");

-- CreateIndex
CREATE INDEX "snapshot_schedules_next_run_at_idx" ON "snapshot_schedules"("next_run_at");

-- AddForeignKey
ALTER TABLE "deployments" ADD CONSTRAINT "deployments_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "projects"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "snapshots" ADD CONSTRAINT "snapshots_deployment_id_fkey" FOREIGN KEY ("deployment_id") REFERENCES "deployments"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "deployment_exports" ADD CONSTRAINT "deployment_exports_deployment_id_fkey" FOREIGN KEY ("deployment_id") REFERENCES "deployments"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "snapshot_schedules" ADD CONSTRAINT "snapshot_schedules_deployment_id_fkey" FOREIGN KEY ("deployment_id") REFERENCES "deployments"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- What the schema language cannot say.

-- A name is taken only while its owner lives.
CREATE UNIQUE INDEX "deployments_name_key" ON "deployments"("project_id", "name") WHERE "terminated_at" IS NULL;

-- Deferrable: two deployments exchange their ports in one statement. What was given back is null, and so no port.
ALTER TABLE "deployments" ADD CONSTRAINT "deployments_port_key" UNIQUE ("region", "port") DEFERRABLE;
ALTER TABLE "deployments" ADD CONSTRAINT "deployments_slot_key" UNIQUE ("region", "slot") DEFERRABLE;

-- The supervisor of a region looks at the living ones alone, however many were terminated.
CREATE INDEX "deployments_living_idx" ON "deployments"("region", "id") WHERE "terminated_at" IS NULL;
