-- Auto-renewal and alerts (farebox/core/renewal.py, farebox/core/alerts.py). Amounts in micro-units of the number's currency.

-- A number's rule. `smart` charges only once its owner has accepted what was proposed: until then it has no amounts.
CREATE TABLE renewal_rule (
    number_id           text PRIMARY KEY REFERENCES number,
    mode                text NOT NULL CHECK (mode IN ('off', 'manual', 'smart')),
    method              text CHECK (length(method) BETWEEN 1 AND 64),  -- null: whichever charges by itself
    threshold_micros    bigint CHECK (abs(threshold_micros) <= 9007199254740991),
    amount_micros       bigint CHECK (amount_micros > 0),
    monthly_cap_micros  bigint CHECK (monthly_cap_micros > 0),         -- on charges, fees included
    proposal            jsonb,                                         -- smart: what the formula found, and its id
    set_at              timestamptz NOT NULL,                          -- by the owner: declines before it are forgotten
    CHECK (mode = 'off' OR monthly_cap_micros IS NOT NULL),
    CHECK (mode <> 'manual' OR (threshold_micros IS NOT NULL AND amount_micros IS NOT NULL)),
    CHECK ((threshold_micros IS NULL) = (amount_micros IS NULL))
);
CREATE TRIGGER renewal_rule_change AFTER INSERT OR DELETE OR UPDATE ON renewal_rule
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();

-- However many workers there are: one automatic payment of a number under way.
CREATE UNIQUE INDEX topup_renewal_in_flight ON topup (number_id) WHERE why = 'auto-renewal' AND state = 'pending';
CREATE INDEX topup_renewal ON topup (number_id, created_at) WHERE why = 'auto-renewal';

-- The levels of a number, and which side of each its balance is on.
CREATE TABLE alert_level (
    number_id  text NOT NULL REFERENCES number,
    unit       text NOT NULL CHECK (unit IN ('amount', 'days')),
    value      bigint NOT NULL CHECK (value BETWEEN 0 AND 9007199254740991),  -- micro-units, or thousandths of days
    low        boolean NOT NULL DEFAULT false,
    crossings  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (number_id, unit, value)
);
CREATE TRIGGER alert_level_change AFTER INSERT OR DELETE OR UPDATE OF value ON alert_level
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();

-- What was said, once for each occasion.
CREATE TABLE alert (
    alert_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number_id       text NOT NULL REFERENCES number,
    kind            text NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),
    occasion        text NOT NULL CHECK (length(occasion) BETWEEN 1 AND 200),
    sentence        text NOT NULL CHECK (length(sentence) BETWEEN 1 AND 2000),
    available_micros bigint NOT NULL,
    missing_micros  bigint NOT NULL,
    at              timestamptz NOT NULL,
    UNIQUE (number_id, kind, occasion)
);
CREATE TRIGGER alert_append_only BEFORE UPDATE OR DELETE ON alert FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_no_truncate BEFORE TRUNCATE ON alert FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- Where an account is told. The target of apprise carries passwords, the secret signs: neither is ever shown.
CREATE TABLE alert_channel (
    channel_id  uuid PRIMARY KEY,
    account_id  text NOT NULL REFERENCES account,
    kind        text NOT NULL CHECK (kind IN ('webhook', 'apprise')),
    name        text NOT NULL CHECK (length(name) <= 200),
    target      text NOT NULL CHECK (length(target) BETWEEN 1 AND 2048),
    secret      text CHECK (length(secret) BETWEEN 16 AND 256),
    created_at  timestamptz NOT NULL,
    CHECK ((kind = 'webhook') = (secret IS NOT NULL))
);
CREATE INDEX alert_channel_account ON alert_channel (account_id);

CREATE TABLE alert_delivery (
    alert_id    bigint NOT NULL REFERENCES alert,
    channel_id  uuid NOT NULL REFERENCES alert_channel ON DELETE CASCADE,
    state       text NOT NULL CHECK (state IN ('waiting', 'sent', 'dead')),
    tries       int NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL,
    error       text CHECK (length(error) <= 500),  -- of the last try
    PRIMARY KEY (alert_id, channel_id)
);
CREATE INDEX alert_delivery_waiting ON alert_delivery (next_at) WHERE state = 'waiting';
