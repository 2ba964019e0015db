-- DropIndex
DROP INDEX "operations_operation_type_finished_at_idx";

-- What the schema language cannot say.

-- How long the last of a type took: what has not ended is not in it.
CREATE INDEX "operations_ended_idx" ON "operations"("operation_type", "finished_at") WHERE "finished_at" IS NOT NULL;

-- What waits and what somebody works at have indexes of their own. One that served both was taken for either, and read
-- from end to end, wherever a statement was planned while nothing waited.
DROP INDEX "operations_unfinished_idx";
