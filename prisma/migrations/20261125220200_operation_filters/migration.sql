-- DropIndex
DROP INDEX "operations_resource_type_resource_id_id_idx";

-- CreateIndex
CREATE INDEX "operations_organization_id_status_id_idx" ON "operations"("organization_id", "status", "id");

-- CreateIndex
CREATE INDEX "operations_organization_id_operation_type_id_idx" ON "operations"("organization_id", "operation_type", "id");

-- CreateIndex
CREATE INDEX "operations_project_id_id_idx" ON "operations"("project_id", "id");

-- CreateIndex
CREATE INDEX "operations_resource_id_id_idx" ON "operations"("resource_id", "id");
