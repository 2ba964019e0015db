-- DropIndex
DROP INDEX "idempotency_keys_sealed_until_idx";

-- What the schema language cannot say.

-- Few answers hold a secret: the others are not in it.
CREATE INDEX "idempotency_keys_sealed_idx" ON "idempotency_keys"("sealed_until") WHERE "sealed_until" IS NOT NULL;

-- The outbox of webhooks, as before: but operations that are accepted together are looked at together, and what is
-- written for an event stands apart from who calls for it.
CREATE FUNCTION webhook_tell(changed operations) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  happened text := 'operation.' ||
    CASE changed.status WHEN 'pending' THEN 'accepted' WHEN 'running' THEN 'started' ELSE changed.status::text END;
  wanted uuid[];
  event uuid;
  seen jsonb;
BEGIN
  SELECT array_agg(w.id) INTO wanted FROM webhooks w
    WHERE w.organization_id = changed.organization_id AND w.disabled_at IS NULL AND w.deleted_at IS NULL
      AND (w.project_id IS NULL OR w.project_id = changed.project_id)
      AND w.events && ARRAY[happened, 'operation.*', '*']
      AND (w.operation_types = '{}' OR EXISTS (
        SELECT FROM unnest(w.operation_types) AS pattern
        WHERE changed.operation_type LIKE replace(replace(pattern, '_', '\_'), '*', '%')));
  IF wanted IS NULL THEN
    RETURN;
  END IF;
  seen := jsonb_build_object(
    'id', changed.id, 'organizationId', changed.organization_id, 'projectId', changed.project_id,
    'operationType', changed.operation_type, 'resourceType', changed.resource_type, 'resourceId', changed.resource_id,
    'status', changed.status, 'attempt', changed.attempt, 'revision', changed.revision, 'progress', changed.progress,
    'steps', (SELECT coalesce(jsonb_agg(step - 'value'), '[]') FROM jsonb_array_elements(changed.steps) AS step),
    'result', changed.result, 'error', changed.error, 'createdBy', changed.created_by,
    'nextOperationId', changed.next_operation_id, 'createdAt', changed.created_at, 'startedAt', changed.started_at,
    'finishedAt', changed.finished_at);
  -- What is too much for a message is read from the API: without it the rest is small.
  IF octet_length(seen::text) > 65536 THEN
    seen := seen || '{"result": null, "steps": [], "truncated": true}'::jsonb;
  END IF;
  IF octet_length(seen::text) > 65536 THEN
    seen := seen || jsonb_build_object('error', NULL,
      'progress', jsonb_build_object('percent', changed.progress->'percent', 'message', ''));
  END IF;
  event := gatehouse_uuidv7();
  INSERT INTO webhook_events (id, organization_id, project_id, type, operation_id, data, occurred_at)
    VALUES (event, changed.organization_id, changed.project_id, happened, changed.id, seen, clock_timestamp());
  INSERT INTO webhook_deliveries (id, organization_id, webhook_id, event_id, event_type, operation_id)
    SELECT gatehouse_uuidv7(), changed.organization_id, one, event, happened, changed.id FROM unnest(wanted) AS one;
END $$;
CREATE OR REPLACE FUNCTION webhook_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM webhook_tell(NEW);
  RETURN NULL;
END $$;
-- One look for each organization: a join would be planned once, maybe for many rows, and read all webhooks for ever.
CREATE FUNCTION webhook_outbox_of_new() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  organization uuid;
  accepted operations;
BEGIN
  FOR organization IN SELECT DISTINCT organization_id FROM fresh LOOP
    CONTINUE WHEN NOT EXISTS (SELECT FROM webhooks w
      WHERE w.organization_id = organization AND w.disabled_at IS NULL AND w.deleted_at IS NULL);
    FOR accepted IN SELECT * FROM fresh WHERE organization_id = organization ORDER BY id LOOP
      PERFORM webhook_tell(accepted);
    END LOOP;
  END LOOP;
  RETURN NULL;
END $$;
DROP TRIGGER webhook_outbox_of_new ON operations;
CREATE TRIGGER webhook_outbox_of_new AFTER INSERT ON operations REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox_of_new();
