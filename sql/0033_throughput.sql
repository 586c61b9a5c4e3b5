-- How many messages a second a number may send (its throughput at WhatsApp); null: nobody said, and WhatsApp alone limits it.
ALTER TABLE number ADD COLUMN throughput int CHECK (throughput BETWEEN 1 AND 1000);

DROP TRIGGER number_audit ON number;
CREATE TRIGGER number_audit AFTER INSERT OR DELETE OR UPDATE OF account_id, display_phone_number, waba_id, timezone, currency,
    dialect, regime, upstream_token, app_secret, webhook_secret, app_url, mode, funds_rule, block_at_micros,
    low_balance_at_micros, auth_international, closed_at, throughput ON number
    FOR EACH ROW EXECUTE FUNCTION audit_change('number', 'number_id', 'upstream_token', 'app_secret', 'webhook_secret');
CREATE TRIGGER number_throughput AFTER UPDATE OF throughput ON number
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
