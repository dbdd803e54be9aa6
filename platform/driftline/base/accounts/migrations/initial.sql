-- Triggers that refuse to change the audit trail, as the application owns the table and no right can be taken from it.
-- Two changes pass. An entry gets its place in the hash chain once. Fields are blanked, with another salt, where a later
-- entry `audit.redact` names the entry: a person's erasure takes their name out, and the trail says that it did.
-- A superuser can disable triggers; the chain shows what was done meanwhile (audit_chain.py).
CREATE FUNCTION accounts_keep_audit_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    chain constant text[] := '{number,digest,hash}';
    content constant text[] := '{subject,before,after,salt,redaction_id}';
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.number IS NULL AND NEW.digest = '' AND NEW.hash = '' AND NEW.redaction_id IS NULL THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        IF OLD.number IS NULL AND NEW.number IS NOT NULL AND to_jsonb(NEW) - chain = to_jsonb(OLD) - chain THEN
            RETURN NEW;
        END IF;
        IF to_jsonb(NEW) - content = to_jsonb(OLD) - content
            AND NEW.redaction_id > OLD.id
            AND NEW.redaction_id IS DISTINCT FROM OLD.redaction_id
            AND NEW.salt <> OLD.salt
            AND NEW.subject IN (OLD.subject, '[erased]')
            AND (NEW.before IS NOT DISTINCT FROM OLD.before OR NEW.before = '"[erased]"')
            AND (NEW.after IS NOT DISTINCT FROM OLD.after OR NEW.after = '"[erased]"')
            AND EXISTS (
                SELECT FROM accounts_auditentry AS redaction
                WHERE redaction.id = NEW.redaction_id AND redaction.action = 'audit.redact'
                AND redaction.after -> 'entries' ? OLD.id::text)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'The audit trail is only added to; % is refused.', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_is_only_added_to BEFORE INSERT OR UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_keep_audit_entries();
CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON accounts_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_keep_audit_entries();
