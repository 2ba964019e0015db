-- AlterTable
ALTER TABLE "deployments" ADD COLUMN     "storage_hold" TEXT NOT NULL DEFAULT 'none';

