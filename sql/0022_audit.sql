-- The audit log: who changed what, from what into what, and why. Append-only. Triggers write it in the transaction of the
-- change itself, so that none goes without it, whatever program makes the change. Who and why stand in the settings
-- farebox.who, farebox.why and farebox.request_id of that transaction (farebox/acting.py).

CREATE TABLE audit (
    audit_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    who         text NOT NULL CHECK (length(who) BETWEEN 1 AND 200),
    what        text NOT NULL CHECK (length(what) BETWEEN 1 AND 64),     -- created, changed, deleted, or a deed's own word
    kind        text NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),     -- of the subject: number, account, key ...
    subject     text NOT NULL CHECK (length(subject) <= 256),            -- its id
    before      jsonb,                                                   -- what was there, of that which changed
    after       jsonb,
    why         text CHECK (length(why) BETWEEN 1 AND 500),
    request_id  text CHECK (length(request_id) BETWEEN 1 AND 128)
);
CREATE INDEX audit_subject ON audit (kind, subject, audit_id);
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- Writes one row of the audit log. Whoever names nobody is the gateway itself, or a person at the database.
CREATE FUNCTION note_audit(of_what text, of_kind text, of_subject text, was jsonb, is_now jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO audit (at, who, what, kind, subject, before, after, why, request_id)
    SELECT clock_timestamp() + offset_ms * interval '1 millisecond',
           coalesce(nullif(current_setting('farebox.who', true), ''),
                    CASE current_setting('application_name') WHEN 'farebox' THEN 'farebox'
                         ELSE 'database role ' || session_user END),
           of_what, of_kind, of_subject, was, is_now,
           nullif(current_setting('farebox.why', true), ''), nullif(current_setting('farebox.request_id', true), '')
    FROM clock
$$;

-- For a table of settings: its kind, the column of its id, then the columns whose content is never shown. Only what changed
-- is written down, and a row that is the same as before is no change.
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was     jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}'::jsonb ELSE to_jsonb(OLD) - 'epoch' END;
    is_now  jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}'::jsonb ELSE to_jsonb(NEW) - 'epoch' END;
    id      text := coalesce(is_now ->> TG_ARGV[1], was ->> TG_ARGV[1]);
    hidden  text;
BEGIN
    FOR hidden IN SELECT name FROM unnest(TG_ARGV[2:]) AS name LOOP
        is_now := is_now || CASE WHEN is_now ->> hidden IS NULL THEN '{}'::jsonb
                                 WHEN was ->> hidden IS NULL OR was -> hidden = is_now -> hidden THEN jsonb_build_object(hidden, 'set')
                                 ELSE jsonb_build_object(hidden, 'set anew') END;
        was := was || CASE WHEN was ->> hidden IS NULL THEN '{}'::jsonb ELSE jsonb_build_object(hidden, 'set') END;
    END LOOP;
    IF was <> is_now THEN
        PERFORM note_audit(
            CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END, TG_ARGV[0], id,
            (SELECT jsonb_object_agg(key, value) FROM jsonb_each(was) WHERE value IS DISTINCT FROM coalesce(is_now -> key, 'null')),
            (SELECT jsonb_object_agg(key, value) FROM jsonb_each(is_now) WHERE value IS DISTINCT FROM coalesce(was -> key, 'null')));
    END IF;
    RETURN NULL;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION note_audit(text, text, text, jsonb, jsonb) SET search_path = pg_catalog, %I, pg_temp',
                   current_schema());
    EXECUTE format('ALTER FUNCTION audit_change() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END $$;

CREATE TRIGGER account_audit AFTER INSERT OR UPDATE OR DELETE ON account
    FOR EACH ROW EXECUTE FUNCTION audit_change('account', 'account_id');
-- Not of epoch: it is the wallets' and changes by itself.
CREATE TRIGGER number_audit AFTER INSERT OR DELETE OR UPDATE OF account_id, display_phone_number, waba_id, timezone, currency,
    dialect, regime, upstream_token, app_secret, webhook_secret, app_url, mode, funds_rule, block_at_micros,
    low_balance_at_micros, auth_international, closed_at ON number
    FOR EACH ROW EXECUTE FUNCTION audit_change('number', 'number_id', 'upstream_token', 'app_secret', 'webhook_secret');
-- Not of looks at a provider, which are many and change nothing.
CREATE TRIGGER topup_audit AFTER INSERT OR DELETE OR UPDATE OF state, refunded_micros, reason ON topup
    FOR EACH ROW EXECUTE FUNCTION audit_change('topup', 'topup_id', 'action_url');
CREATE TRIGGER movement_audit AFTER INSERT OR UPDATE OR DELETE ON movement
    FOR EACH ROW EXECUTE FUNCTION audit_change('movement', 'movement_id');
CREATE TRIGGER payment_card_audit AFTER INSERT OR UPDATE OR DELETE ON payment_card
    FOR EACH ROW EXECUTE FUNCTION audit_change('card', 'account_id', 'customer', 'card');
CREATE TRIGGER api_key_audit AFTER INSERT OR UPDATE OR DELETE ON api_key
    FOR EACH ROW EXECUTE FUNCTION audit_change('key', 'key_id', 'digest');
