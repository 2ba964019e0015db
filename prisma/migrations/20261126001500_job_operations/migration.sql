-- What the schema language cannot say.

-- The operations of a job, its runs' included, from the newest on.
CREATE INDEX "operations_job_idx" ON "operations"(("payload" ->> 'jobId'), "id")
  WHERE "payload" ->> 'jobId' IS NOT NULL;
