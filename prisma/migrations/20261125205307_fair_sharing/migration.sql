-- AlterTable
ALTER TABLE "organizations" ADD COLUMN     "concurrency" INTEGER;

-- CreateTable
CREATE TABLE "operation_slots" (
    "organization_id" UUID NOT NULL,
    "slot" INTEGER NOT NULL,
    "operation_id" UUID,

    CONSTRAINT "operation_slots_pkey" PRIMARY KEY ("organization_id","slot")
);

-- What the schema language cannot say.

-- A slot is taken and freed with every operation: room for the next versions of its row on the same page.
ALTER TABLE "operation_slots" SET (fillfactor = 50);

-- What waits, in lines, one per organization and region: the dispatcher reads each from its front.
CREATE INDEX "operations_waiting_idx" ON "operations"("organization_id", (coalesce("region", '')), "priority", "id")
  WHERE "status" IN ('pending', 'running') AND "leased_by" IS NULL;

-- What somebody works at, or did, and what only has to end: few, however many wait.
CREATE INDEX "operations_attended_idx" ON "operations"("id")
  WHERE "status" = 'cancelling' OR "status" = 'running' AND "leased_by" IS NOT NULL;
