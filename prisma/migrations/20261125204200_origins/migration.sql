-- AlterTable
ALTER TABLE "operations" ADD COLUMN     "request_id" TEXT,
ADD COLUMN     "traceparent" TEXT;

