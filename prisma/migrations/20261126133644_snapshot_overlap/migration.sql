-- AlterTable
ALTER TABLE "snapshot_schedules" ADD COLUMN     "last_skipped_at" TIMESTAMPTZ(3),
ADD COLUMN     "overlap" TEXT NOT NULL DEFAULT 'skip',
ADD COLUMN     "queued_at" TIMESTAMPTZ(3);

-- What the schema language cannot say.

-- Ticks that wait for the end of an operation: few, and looked for all the time.
CREATE INDEX "snapshot_schedules_queued_idx" ON "snapshot_schedules"("queued_at") WHERE "queued_at" IS NOT NULL;
