-- Templates: what is announced about one, its bid, and the history of what changed.

ALTER TABLE template
    ADD COLUMN coming_category   text,         -- announced, not in force yet
    ADD COLUMN coming_at         timestamptz,  -- when it is due; null: not said
    ADD COLUMN bid_amount        bigint,       -- max price for 1,000 deliveries in the currency's smallest unit
    ADD COLUMN category_said_at  timestamptz,  -- of the webhook that spoke last, so that an older one changes nothing
    ADD COLUMN status_said_at    timestamptz;

CREATE TABLE template_change (
    change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    waba_id     text NOT NULL,
    name        text NOT NULL,
    language    text NOT NULL,
    what        text NOT NULL CHECK (what IN ('category', 'status', 'bid')),
    old         text,
    new         text,
    state       text NOT NULL CHECK (state IN ('impending', 'done')),
    due_at      timestamptz,  -- of an impending change
    source      text NOT NULL CHECK (source IN ('webhook', 'sync')),
    at          timestamptz NOT NULL
);
CREATE INDEX template_change_of ON template_change (waba_id, name, language, change_id);

-- When authentication messages to other countries began to cost more: by the operator's word, else by WhatsApp's.
ALTER TABLE number ADD COLUMN auth_international boolean;
CREATE TABLE auth_international (
    waba_id    text NOT NULL,
    country    text NOT NULL CHECK (country ~ '^([A-Z]{2})?$'),  -- empty: every country without a row of its own
    starts_at  timestamptz NOT NULL,
    PRIMARY KEY (waba_id, country)
);

-- Volume tiers that an account has reached. Of repeated webhooks the earliest time is the official one.
CREATE TABLE volume_tier (
    waba_id     text NOT NULL,
    region      text NOT NULL,  -- Meta's word for the market
    category    text NOT NULL,
    month       text NOT NULL CHECK (month ~ '^\d{4}-\d{2}$'),  -- in the account's time zone
    lower       bigint NOT NULL,  -- the first message that the tier's rate applies to
    reached_at  timestamptz NOT NULL,
    PRIMARY KEY (waba_id, region, category, month, lower)
);

DROP TRIGGER number_change ON number;
CREATE TRIGGER number_change AFTER INSERT OR DELETE OR UPDATE OF account_id, display_phone_number, waba_id, timezone, currency,
    dialect, regime, upstream_token, app_secret, app_url, mode, funds_rule, block_at_micros, low_balance_at_micros,
    webhook_secret, auth_international
    ON number FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
CREATE TRIGGER auth_international_change AFTER INSERT OR DELETE OR UPDATE ON auth_international
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
CREATE TRIGGER volume_tier_change AFTER INSERT OR DELETE OR UPDATE ON volume_tier
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
