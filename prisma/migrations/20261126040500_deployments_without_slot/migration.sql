-- Nothing is derived from it: the substrate gives each place its user, once per machine.
-- AlterTable
ALTER TABLE "deployments" DROP COLUMN "slot";
