-- CreateIndex
CREATE INDEX "webhook_deliveries_webhook_id_operation_id_position_idx" ON "webhook_deliveries"("webhook_id", "operation_id", "position");
