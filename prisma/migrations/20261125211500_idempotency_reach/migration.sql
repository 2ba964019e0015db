-- AlterTable
ALTER TABLE "idempotency_keys" ADD COLUMN     "all_projects" BOOLEAN NOT NULL DEFAULT true,
ADD COLUMN     "projects" UUID[];
