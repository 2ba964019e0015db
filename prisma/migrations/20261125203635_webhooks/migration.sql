-- CreateTable
CREATE TABLE "webhooks" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "project_id" UUID,
    "url" TEXT NOT NULL,
    "description" TEXT NOT NULL DEFAULT '',
    "events" TEXT[],
    "operation_types" TEXT[],
    "purpose" TEXT,
    "disabled_at" TIMESTAMPTZ(3),
    "disabled_reason" TEXT,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "failing_since" TIMESTAMPTZ(3),
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "deleted_at" TIMESTAMPTZ(3),

    CONSTRAINT "webhooks_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "webhook_secrets" (
    "id" UUID NOT NULL,
    "webhook_id" UUID NOT NULL,
    "sealed" BYTEA NOT NULL,
    "key_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),

    CONSTRAINT "webhook_secrets_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "webhook_events" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "project_id" UUID,
    "type" TEXT NOT NULL,
    "operation_id" UUID,
    "data" JSONB NOT NULL,
    "occurred_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "webhook_events_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "webhook_deliveries" (
    "id" UUID NOT NULL,
    "position" BIGSERIAL NOT NULL,
    "organization_id" UUID NOT NULL,
    "webhook_id" UUID NOT NULL,
    "event_id" UUID NOT NULL,
    "event_type" TEXT NOT NULL,
    "operation_id" UUID,
    "status" TEXT NOT NULL DEFAULT 'pending',
    "ordered" BOOLEAN NOT NULL DEFAULT true,
    "tries" INTEGER NOT NULL DEFAULT 0,
    "max_tries" INTEGER,
    "attempt" INTEGER NOT NULL DEFAULT 0,
    "lease_expires_at" TIMESTAMPTZ(3),
    "leased_by" TEXT,
    "next_attempt_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "finished_at" TIMESTAMPTZ(3),

    CONSTRAINT "webhook_deliveries_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "webhook_attempts" (
    "delivery_id" UUID NOT NULL,
    "number" INTEGER NOT NULL,
    "started_at" TIMESTAMPTZ(3) NOT NULL,
    "duration_ms" INTEGER NOT NULL,
    "status_code" INTEGER,
    "response" TEXT,
    "error" TEXT,

    CONSTRAINT "webhook_attempts_pkey" PRIMARY KEY ("delivery_id","number")
);

-- CreateIndex
CREATE INDEX "webhooks_organization_id_id_idx" ON "webhooks"("organization_id", "id");

-- CreateIndex
CREATE INDEX "webhooks_project_id_idx" ON "webhooks"("project_id");

-- CreateIndex
CREATE INDEX "webhook_secrets_webhook_id_idx" ON "webhook_secrets"("webhook_id");

-- CreateIndex
CREATE INDEX "webhook_deliveries_webhook_id_position_idx" ON "webhook_deliveries"("webhook_id", "position");

-- CreateIndex
CREATE INDEX "webhook_deliveries_event_id_idx" ON "webhook_deliveries"("event_id");

-- AddForeignKey
ALTER TABLE "webhooks" ADD CONSTRAINT "webhooks_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhooks" ADD CONSTRAINT "webhooks_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "projects"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhook_secrets" ADD CONSTRAINT "webhook_secrets_webhook_id_fkey" FOREIGN KEY ("webhook_id") REFERENCES "webhooks"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhook_deliveries" ADD CONSTRAINT "webhook_deliveries_webhook_id_fkey" FOREIGN KEY ("webhook_id") REFERENCES "webhooks"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhook_deliveries" ADD CONSTRAINT "webhook_deliveries_event_id_fkey" FOREIGN KEY ("event_id") REFERENCES "webhook_events"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhook_attempts" ADD CONSTRAINT "webhook_attempts_delivery_id_fkey" FOREIGN KEY ("delivery_id") REFERENCES "webhook_deliveries"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- What the schema language cannot say.

-- The project's settings know one webhook.
CREATE UNIQUE INDEX "webhooks_purpose_key" ON "webhooks"("project_id", "purpose") WHERE "deleted_at" IS NULL;

-- The outbox asks for those of an organization that are in use, with every change of an operation.
CREATE INDEX "webhooks_enabled_idx" ON "webhooks"("organization_id")
  WHERE "disabled_at" IS NULL AND "deleted_at" IS NULL;

-- Deliverers look at what is pending alone, webhook by webhook: however much lies behind one, or is done.
CREATE INDEX "webhook_deliveries_due_idx" ON "webhook_deliveries"("webhook_id", "next_attempt_at", "position")
  WHERE "status" = 'pending';
CREATE INDEX "webhook_deliveries_order_idx" ON "webhook_deliveries"("webhook_id", "operation_id", "position")
  WHERE "status" = 'pending' AND "ordered";
CREATE INDEX "webhook_deliveries_leased_idx" ON "webhook_deliveries"("webhook_id", "lease_expires_at")
  WHERE "lease_expires_at" IS NOT NULL;

-- A UUIDv7 (RFC 9562 section 5.7) on servers before 18, too.
CREATE FUNCTION gatehouse_uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
    placing substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
    FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- The outbox of webhooks: every new status of every operation is an event, written in the transaction that sets it,
-- for each webhook that wants it. No statement can forget it, and an operation that nobody wants to hear of costs one
-- look at an index.
CREATE FUNCTION webhook_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  happened text := 'operation.' ||
    CASE NEW.status WHEN 'pending' THEN 'accepted' WHEN 'running' THEN 'started' ELSE NEW.status::text END;
  wanted uuid[];
  event uuid;
  seen jsonb;
BEGIN
  SELECT array_agg(w.id) INTO wanted FROM webhooks w
    WHERE w.organization_id = NEW.organization_id AND w.disabled_at IS NULL AND w.deleted_at IS NULL
      AND (w.project_id IS NULL OR w.project_id = NEW.project_id)
      AND w.events && ARRAY[happened, 'operation.*', '*']
      AND (w.operation_types = '{}' OR EXISTS (
        SELECT FROM unnest(w.operation_types) AS pattern
        WHERE NEW.operation_type LIKE replace(replace(pattern, '_', '\_'), '*', '%')));
  IF wanted IS NULL THEN
    RETURN NULL;
  END IF;
  seen := jsonb_build_object(
    'id', NEW.id, 'organizationId', NEW.organization_id, 'projectId', NEW.project_id,
    'operationType', NEW.operation_type, 'resourceType', NEW.resource_type, 'resourceId', NEW.resource_id,
    'status', NEW.status, 'attempt', NEW.attempt, 'revision', NEW.revision, 'progress', NEW.progress,
    'steps', (SELECT coalesce(jsonb_agg(step - 'value'), '[]') FROM jsonb_array_elements(NEW.steps) AS step),
    'result', NEW.result, 'error', NEW.error, 'createdBy', NEW.created_by,
    'nextOperationId', NEW.next_operation_id, 'createdAt', NEW.created_at, 'startedAt', NEW.started_at,
    'finishedAt', NEW.finished_at);
  -- What is too much for a message is read from the API: without it the rest is small.
  IF octet_length(seen::text) > 65536 THEN
    seen := seen || '{"result": null, "steps": [], "truncated": true}'::jsonb;
  END IF;
  IF octet_length(seen::text) > 65536 THEN
    seen := seen || jsonb_build_object('error', NULL,
      'progress', jsonb_build_object('percent', NEW.progress->'percent', 'message', ''));
  END IF;
  event := gatehouse_uuidv7();
  INSERT INTO webhook_events (id, organization_id, project_id, type, operation_id, data, occurred_at)
    VALUES (event, NEW.organization_id, NEW.project_id, happened, NEW.id, seen, clock_timestamp());
  INSERT INTO webhook_deliveries (id, organization_id, webhook_id, event_id, event_type, operation_id)
    SELECT gatehouse_uuidv7(), NEW.organization_id, one, event, happened, NEW.id FROM unnest(wanted) AS one;
  RETURN NULL;
END $$;
CREATE TRIGGER webhook_outbox_of_new AFTER INSERT ON operations
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox();
CREATE TRIGGER webhook_outbox_of_changed AFTER UPDATE ON operations
  FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION webhook_outbox();
