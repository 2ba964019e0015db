-- What the schema language cannot say.

-- The operations of two deployments are found by the second one too.
CREATE INDEX "operations_other_deployment_idx" ON "operations"(("payload" -> 'other' ->> 'deploymentId'), "id")
  WHERE "operation_type" IN ('deployment.clone', 'deployment.connection-url');
