-- The ledger: the append-only truth about money, and the settings that decide about it.
-- Amounts are integer micro-units of the number's currency (a millionth of its unit). Times come from the one clock.

CREATE TABLE account (
    account_id  text PRIMARY KEY CHECK (length(account_id) BETWEEN 1 AND 64),
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    country     text CHECK (country ~ '^[A-Z]{2}$'),
    tax_id      text CHECK (length(tax_id) <= 64),
    created_at  timestamptz NOT NULL
);

-- A WhatsApp phone number. `epoch` fences wallets: a wallet is rebuilt under this row's lock with epoch + 1, and a hold
-- is recorded only while its wallet's epoch is still the row's.
CREATE TABLE number (
    number_id             text PRIMARY KEY CHECK (length(number_id) BETWEEN 1 AND 64),
    account_id            text NOT NULL REFERENCES account,
    epoch                 bigint NOT NULL DEFAULT 0,
    display_phone_number  text NOT NULL DEFAULT '' CHECK (length(display_phone_number) <= 64),
    waba_id               text NOT NULL DEFAULT '' CHECK (length(waba_id) <= 64),
    timezone              text NOT NULL DEFAULT 'UTC' CHECK (length(timezone) <= 64),
    currency              text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    dialect               text NOT NULL DEFAULT 'cloud' CHECK (dialect IN ('cloud', '360dialog', 'on_premise')),
    regime                text NOT NULL DEFAULT 'auto' CHECK (length(regime) <= 64),
    upstream_token        text CHECK (length(upstream_token) <= 4096),  -- null: the client's own token passes through
    app_secret            text CHECK (length(app_secret) <= 4096),
    app_url               text CHECK (length(app_url) <= 2048),
    mode                  text NOT NULL DEFAULT 'enforce' CHECK (mode IN ('enforce', 'off')),
    funds_rule            text NOT NULL DEFAULT 'above_zero' CHECK (funds_rule IN ('above_zero', 'cover')),
    block_at_micros       bigint NOT NULL DEFAULT 0,
    low_balance_at_micros bigint,
    created_at            timestamptz NOT NULL
);
CREATE INDEX number_account ON number (account_id);

-- available + held of each number; one statement writes it together with the entries that change it. A table of its own,
-- so that settling does not wait for the row locks that recording a hold takes on number.
CREATE TABLE balance (
    number_id       text PRIMARY KEY REFERENCES number,
    balance_micros  bigint NOT NULL DEFAULT 0 CHECK (abs(balance_micros) < 9007199254740992)  -- 2^53: exact in Lua
);

CREATE TABLE topup (
    topup_id       uuid PRIMARY KEY,
    number_id      text NOT NULL REFERENCES number,
    reference      text NOT NULL CHECK (length(reference) BETWEEN 1 AND 200),
    method         text NOT NULL CHECK (method IN ('manual')),
    amount_micros  bigint NOT NULL CHECK (amount_micros > 0),
    state          text NOT NULL CHECK (state IN ('succeeded')),
    created_at     timestamptz NOT NULL,
    UNIQUE (number_id, reference)  -- a repeated reference is the same top-up
);

-- Funds set aside for one message until it is known whether the fare is due. The states and who may follow whom:
-- farebox/core/hold.py. A row also carries what explains the fare.
CREATE TABLE hold (
    hold_id           uuid PRIMARY KEY,
    number_id         text NOT NULL REFERENCES number,
    epoch             bigint NOT NULL,
    state             text NOT NULL CHECK (state IN ('reserved', 'accepted', 'settled', 'released', 'expired')),
    class             text NOT NULL CHECK (class IN ('free', 'paid')),
    fare_micros       bigint NOT NULL CHECK (fare_micros >= 0),
    billed_micros     bigint CHECK (billed_micros >= 0),  -- set when the hold ends
    regime            text NOT NULL,
    category          text NOT NULL,
    market            text NOT NULL,
    why               text NOT NULL,   -- the term that held
    rate_source       text NOT NULL,   -- file and line of the rate card, empty for a free term
    state_evidence    text NOT NULL,   -- what the wallet saw: a window's end, a pool's count
    pool              text,            -- the pool that a free unit was taken from, 'service:2026-11'
    recipient         text NOT NULL,
    template          text,            -- name and language
    note              text,            -- what the operator should know, e.g. an unknown template
    client_reference  text,
    wamid             text,
    ended_by          text CHECK (ended_by IN ('reject', 'deliver', 'fail', 'time_out')),
    late              boolean NOT NULL DEFAULT false,  -- charged after it had ended otherwise
    webhook           jsonb,           -- the status that ended it
    delivered_at      timestamptz,     -- a delivery without a price was seen
    created_at        timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    ended_at          timestamptz
);
CREATE INDEX hold_wamid ON hold (wamid) WHERE wamid IS NOT NULL;
CREATE INDEX hold_open ON hold (number_id) WHERE state IN ('reserved', 'accepted');
CREATE INDEX hold_expiry ON hold (expires_at) WHERE state IN ('reserved', 'accepted');
CREATE INDEX hold_pool ON hold (number_id, pool) WHERE pool IS NOT NULL;

-- Movements. A row moves an amount out of one book and into another, so that no transaction can be out of balance.
-- Books: 'number' is a number's prepaid balance, 'outside' the world that money comes from, 'usage' what was charged.
CREATE TABLE entry (
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number_id      text NOT NULL REFERENCES number,
    kind           text NOT NULL CHECK (kind IN ('topup', 'settle')),
    from_book      text NOT NULL CHECK (from_book IN ('number', 'outside', 'usage')),
    into_book      text NOT NULL CHECK (into_book IN ('number', 'outside', 'usage')),
    amount_micros  bigint NOT NULL CHECK (amount_micros > 0),
    hold_id        uuid REFERENCES hold,
    topup_id       uuid REFERENCES topup,
    at             timestamptz NOT NULL,
    CHECK (from_book <> into_book),
    CHECK ((kind = 'settle') = (hold_id IS NOT NULL)),
    CHECK ((kind = 'topup') = (topup_id IS NOT NULL))
);
CREATE INDEX entry_number ON entry (number_id, entry_id);
CREATE UNIQUE INDEX entry_hold ON entry (hold_id) WHERE hold_id IS NOT NULL;     -- a hold is charged once
CREATE UNIQUE INDEX entry_topup ON entry (topup_id) WHERE topup_id IS NOT NULL;  -- a top-up is credited once

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: correct an entry with a further entry';
END $$;
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Times until which a user's windows are open, as bigint milliseconds: the wallet compares them with its clock.
CREATE TABLE open_window (
    number_id   text NOT NULL REFERENCES number,
    user_id     text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('csw', 'fep', 'fep_offer')),
    ends_at_ms  bigint NOT NULL,
    PRIMARY KEY (number_id, user_id, kind)
);

CREATE TABLE template (
    waba_id     text NOT NULL,
    name        text NOT NULL,
    language    text NOT NULL,
    category    text NOT NULL,
    status      text NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (waba_id, name, language)
);

-- Statuses whose message is not known (yet): a status may overtake the answer to its send. The sweep tries them again.
CREATE TABLE unmatched_status (
    number_id   text NOT NULL REFERENCES number,
    wamid       text NOT NULL,
    status      text NOT NULL,
    payload     jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (number_id, wamid, status)
);

-- Farebox keys: what an application authenticates with. Only a digest is stored.
CREATE TABLE api_key (
    key_id      uuid PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    digest      bytea NOT NULL UNIQUE,
    numbers     text[] NOT NULL CHECK (cardinality(numbers) > 0),
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);

-- The one clock: the database's time plus an offset that only a sandbox sets.
CREATE TABLE clock (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    offset_ms  bigint NOT NULL DEFAULT 0
);
INSERT INTO clock DEFAULT VALUES;

-- Every worker keeps numbers, keys and templates in memory and hears of changes here, whoever makes them.
CREATE FUNCTION announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('farebox', TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE TRIGGER number_change AFTER INSERT OR DELETE OR UPDATE OF account_id, display_phone_number, waba_id, timezone, currency,
    dialect, regime, upstream_token, app_secret, app_url, mode, funds_rule, block_at_micros, low_balance_at_micros
    ON number FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
CREATE TRIGGER api_key_change AFTER INSERT OR DELETE OR UPDATE ON api_key FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
CREATE TRIGGER template_change AFTER INSERT OR DELETE OR UPDATE ON template FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
CREATE TRIGGER clock_change AFTER UPDATE ON clock FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
