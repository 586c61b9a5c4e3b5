-- Keys have a scope beside their numbers, and can be rotated: for a while the key before works too. Secrets of numbers may
-- be sealed (farebox/vault.py), which makes them longer.
ALTER TABLE api_key
    ADD COLUMN categories        text[] CHECK (cardinality(categories) > 0),  -- null: all
    ADD COLUMN per_minute        int CHECK (per_minute > 0),                  -- messages; null: any number of them
    ADD COLUMN previous_digest   bytea UNIQUE,                                -- of the key before, until previous_until
    ADD COLUMN previous_until    timestamptz,
    ADD CONSTRAINT api_key_previous CHECK ((previous_digest IS NULL) = (previous_until IS NULL));

-- When a key was used last, to about a minute. A table of its own: it is no change of a key.
CREATE TABLE api_key_use (
    key_id        uuid PRIMARY KEY REFERENCES api_key,
    last_used_at  timestamptz NOT NULL
);

DROP TRIGGER api_key_audit ON api_key;
CREATE TRIGGER api_key_audit AFTER INSERT OR UPDATE OR DELETE ON api_key
    FOR EACH ROW EXECUTE FUNCTION audit_change('key', 'key_id', 'digest', 'previous_digest');

ALTER TABLE number DROP CONSTRAINT number_upstream_token_check, DROP CONSTRAINT number_app_secret_check,
    DROP CONSTRAINT number_webhook_secret_check;
ALTER TABLE number
    ADD CONSTRAINT number_upstream_token_check CHECK (length(upstream_token) <= 8192),
    ADD CONSTRAINT number_app_secret_check CHECK (length(app_secret) <= 8192),
    ADD CONSTRAINT number_webhook_secret_check CHECK (length(webhook_secret) BETWEEN 16 AND 8192);
