-- AlterTable
ALTER TABLE "jobs" ADD COLUMN     "last_skipped_at" TIMESTAMPTZ(3),
ADD COLUMN     "overlap" TEXT NOT NULL DEFAULT 'skip',
ADD COLUMN     "queued_at" TIMESTAMPTZ(3);

-- What the schema language cannot say.

-- Ticks that wait for the end of a run: few, and looked for all the time.
CREATE INDEX "jobs_queued_idx" ON "jobs"("queued_at") WHERE "queued_at" IS NOT NULL;
