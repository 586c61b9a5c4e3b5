-- Top-ups have a life: a draft (a preview), a payment that is on its way, an end. The states and who may follow whom:
-- farebox/core/topup.py. A top-up is never spendable before `credited_at`, and is credited once, whatever becomes of it then.

ALTER TABLE topup DROP CONSTRAINT topup_method_check, DROP CONSTRAINT topup_state_check;
ALTER TABLE topup
    ADD CONSTRAINT topup_method_check CHECK (method IN ('manual', 'stripe', 'sandbox')),
    ADD CONSTRAINT topup_state_check
        CHECK (state IN ('draft', 'pending', 'succeeded', 'failed', 'cancelled', 'refunded', 'disputed')),
    ADD COLUMN why text NOT NULL DEFAULT 'one-time' CHECK (why IN ('one-time', 'auto-renewal')),
    ADD COLUMN fee_micros bigint NOT NULL DEFAULT 0 CHECK (fee_micros >= 0),  -- charged on top: charge = amount + fee
    ADD COLUMN tax_micros bigint NOT NULL DEFAULT 0,                          -- what of the fee is tax
    ADD COLUMN refunded_micros bigint NOT NULL DEFAULT 0,                     -- of the amount, given back to the payer
    ADD COLUMN provider_id text CHECK (length(provider_id) BETWEEN 1 AND 200),  -- the payment's name at its provider
    ADD COLUMN action_url text CHECK (length(action_url) <= 2048),            -- where the payer has to confirm (3-D Secure)
    ADD COLUMN reason text CHECK (length(reason) BETWEEN 1 AND 500),          -- why it failed, was cancelled or is disputed
    ADD COLUMN credited_at timestamptz,
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN looked_at timestamptz;                                         -- when its provider was last asked
UPDATE topup SET credited_at = created_at;
ALTER TABLE topup
    ADD CONSTRAINT topup_tax CHECK (tax_micros BETWEEN 0 AND fee_micros),
    ADD CONSTRAINT topup_refunded CHECK (refunded_micros BETWEEN 0 AND amount_micros),
    ADD CONSTRAINT topup_credited CHECK ((state IN ('succeeded', 'refunded', 'disputed')) = (credited_at IS NOT NULL)),
    ADD CONSTRAINT topup_failed CHECK (state <> 'failed' OR reason IS NOT NULL);
CREATE INDEX topup_pending ON topup (number_id) WHERE state = 'pending';
CREATE INDEX topup_draft ON topup (created_at) WHERE state = 'draft';
CREATE UNIQUE INDEX topup_provider ON topup (method, provider_id) WHERE provider_id IS NOT NULL;

CREATE FUNCTION refuse_topup_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'top-up % has been credited, or its price was agreed: correct it with a further entry', OLD.topup_id;
END $$;
-- Price and fee are fixed when the payer sees them; a credit keeps its time, which is what makes it the only one.
CREATE TRIGGER topup_final BEFORE UPDATE ON topup FOR EACH ROW
    WHEN ((NEW.topup_id, NEW.number_id, NEW.method, NEW.amount_micros, NEW.fee_micros, NEW.tax_micros, NEW.created_at)
          IS DISTINCT FROM
          (OLD.topup_id, OLD.number_id, OLD.method, OLD.amount_micros, OLD.fee_micros, OLD.tax_micros, OLD.created_at)
          OR (OLD.credited_at IS NOT NULL AND NEW.credited_at IS DISTINCT FROM OLD.credited_at))
    EXECUTE FUNCTION refuse_topup_change();
CREATE TRIGGER topup_kept BEFORE DELETE ON topup FOR EACH ROW EXECUTE FUNCTION refuse_topup_change();
CREATE TRIGGER topup_no_truncate BEFORE TRUNCATE ON topup FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- As in 0008, but a top-up is credited when it says so, which may be later than it was made.
CREATE OR REPLACE FUNCTION check_entries() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    stray bigint;
BEGIN
    SELECT b.entry_id INTO stray FROM booked b
    WHERE (b.kind = 'settle' AND NOT EXISTS (
               SELECT FROM hold h WHERE h.hold_id = b.hold_id AND h.number_id = b.number_id AND h.state = 'settled'
                                    AND h.billed_micros = b.amount_micros AND h.ended_at = b.at OFFSET 0))
       OR (b.kind = 'topup' AND NOT EXISTS (
               SELECT FROM topup t WHERE t.topup_id = b.topup_id AND t.number_id = b.number_id
                                     AND t.amount_micros = b.amount_micros AND t.credited_at = b.at OFFSET 0))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry % books what no hold and no top-up says', stray USING ERRCODE = 'check_violation';
    END IF;
    UPDATE balance SET entries_micros = entries_micros + moved.micros
    FROM (SELECT number_id, sum(CASE WHEN into_book = 'number' THEN amount_micros
                                     WHEN from_book = 'number' THEN -amount_micros ELSE 0 END)::bigint AS micros
          FROM booked GROUP BY number_id) AS moved
    WHERE balance.number_id = moved.number_id;
    RETURN NULL;
END $$;

-- And repair_books of 0013 adds what a credited top-up lacks, whatever became of it later.
DO $$
DECLARE
    before text := pg_get_functiondef('repair_books(text, timestamptz)'::regprocedure);
    after  text := replace(replace(before, 't.state = ''succeeded''', 't.credited_at IS NOT NULL'),
                           't.created_at AT TIME ZONE', 't.credited_at AT TIME ZONE');
BEGIN
    ASSERT after <> before, 'repair_books is not as 0013 made it';
    EXECUTE after;
    EXECUTE format('ALTER FUNCTION check_entries() SET search_path = %I, pg_temp', current_schema());
END $$;
