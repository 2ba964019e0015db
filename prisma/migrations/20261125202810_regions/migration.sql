-- AlterTable
ALTER TABLE "operations" ADD COLUMN     "region" TEXT;

