-- 360dialog and the on-premise API: their webhooks carry no signature that a client could check, so a number has a
-- secret that its webhooks present, in the path or in a header. Null: nothing that comes that way moves the number.

ALTER TABLE number ADD COLUMN webhook_secret text CHECK (length(webhook_secret) BETWEEN 16 AND 256);

DROP TRIGGER number_change ON number;
CREATE TRIGGER number_change AFTER INSERT OR DELETE OR UPDATE OF account_id, display_phone_number, waba_id, timezone, currency,
    dialect, regime, upstream_token, app_secret, app_url, mode, funds_rule, block_at_micros, low_balance_at_micros, webhook_secret
    ON number FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
