-- Corrections: what `farebox reconcile --repair` writes where the books of a number do not agree. Which side is right stands
-- in farebox/core/difference.py: documents (holds, top-ups), then entries, then the stored balance and the roll-up. Nothing
-- that stands before is changed to fit what stands after it.

ALTER TABLE entry ADD COLUMN reason text CHECK (length(reason) BETWEEN 1 AND 500);
ALTER TABLE entry DROP CONSTRAINT entry_kind_check, DROP CONSTRAINT entry_check1, DROP CONSTRAINT entry_check2;
ALTER TABLE entry
    ADD CONSTRAINT entry_kind_check CHECK (kind IN ('topup', 'settle', 'refund', 'adjustment', 'correction')),
    ADD CONSTRAINT entry_says_why CHECK ((kind IN ('topup', 'settle')) = (reason IS NULL)),
    ADD CONSTRAINT entry_of_hold CHECK (CASE WHEN hold_id IS NULL THEN kind <> 'settle' ELSE kind IN ('settle', 'correction') END),
    ADD CONSTRAINT entry_of_topup CHECK (CASE WHEN topup_id IS NULL THEN kind <> 'topup' ELSE kind IN ('topup', 'correction') END);

-- What was set right that is no entry: a stored balance (micro-units), a row of the roll-up (micro-units). Append-only.
CREATE TABLE repair (
    repair_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number_id   text NOT NULL REFERENCES number,
    what        text NOT NULL CHECK (what IN ('balance', 'usage')),
    was_micros  bigint NOT NULL,
    is_micros   bigint NOT NULL,
    at          timestamptz NOT NULL
);
CREATE INDEX repair_number ON repair (number_id);
CREATE TRIGGER repair_append_only BEFORE UPDATE OR DELETE ON repair FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER repair_no_truncate BEFORE TRUNCATE ON repair FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- Sets a number's books right, from the documents to the roll-up, and returns what it did: (what, how many, micro-units).
-- The number's row is locked first, so that nothing is recorded, ended or booked meanwhile; each statement after that sees
-- what was committed before. Charges that no hold explains are left alone: giving money back is for a person to decide.
-- It runs as the owner of the tables, because the sum beside the balance (entries_micros) is nobody else's to write.
CREATE FUNCTION repair_books(of_number text, repaired_at timestamptz)
RETURNS TABLE (what text, count bigint, micros bigint) LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    stored  bigint;
    summed  bigint;
    total   bigint;
BEGIN
    PERFORM FROM number WHERE number_id = of_number FOR UPDATE;

    WITH added AS (
        INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, hold_id, reason, at)
        SELECT of_number, 'correction', 'number', 'usage', h.billed_micros, h.hold_id,
               'the hold was billed, and no entry charged it', repaired_at
        FROM hold h
        WHERE h.number_id = of_number AND h.state = 'settled' AND h.billed_micros > 0
          AND NOT EXISTS (SELECT FROM entry e WHERE e.hold_id = h.hold_id)
        RETURNING amount_micros
    )
    SELECT 'charges', count(*), coalesce(sum(amount_micros), 0)::bigint INTO what, count, micros FROM added;
    IF count > 0 THEN RETURN NEXT; END IF;

    WITH added AS (
        INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, topup_id, reason, at)
        SELECT of_number, 'correction', 'outside', 'number', t.amount_micros, t.topup_id,
               'the top-up succeeded, and no entry credited it', repaired_at
        FROM topup t
        WHERE t.number_id = of_number AND t.state = 'succeeded'
          AND NOT EXISTS (SELECT FROM entry e WHERE e.topup_id = t.topup_id)
          AND NOT EXISTS (SELECT FROM dropped_month d WHERE d.month = date_trunc('month', t.created_at AT TIME ZONE 'UTC'))
        RETURNING amount_micros
    )
    SELECT 'topups', count(*), coalesce(sum(amount_micros), 0)::bigint INTO what, count, micros FROM added;
    IF count > 0 THEN RETURN NEXT; END IF;

    SELECT coalesce(sum(CASE WHEN into_book = 'number' THEN amount_micros WHEN from_book = 'number' THEN -amount_micros
                             ELSE 0 END), 0)::bigint INTO total
    FROM (SELECT from_book, into_book, amount_micros FROM entry WHERE number_id = of_number
          UNION ALL
          SELECT from_book, into_book, amount_micros FROM entry_total WHERE number_id = of_number) AS moves;
    SELECT balance_micros, entries_micros INTO stored, summed FROM balance WHERE number_id = of_number FOR UPDATE;
    IF (stored, summed) <> (total, total) THEN
        UPDATE balance SET balance_micros = total, entries_micros = total WHERE number_id = of_number;
    END IF;
    IF stored <> total THEN
        INSERT INTO repair (number_id, what, was_micros, is_micros, at) VALUES (of_number, 'balance', stored, total, repaired_at);
        SELECT 'balance', 1, total - stored INTO what, count, micros;
        RETURN NEXT;
    END IF;

    WITH held AS (
        SELECT usage_day AS day, category, market, class, count(*) AS messages, sum(billed_micros)::bigint AS billed_micros
        FROM hold h WHERE h.number_id = of_number AND state = 'settled' GROUP BY usage_day, category, market, class
    ), right_ AS (
        SELECT day, category, market, class,
               coalesce(held.messages, 0) + coalesce(u.dropped_messages, 0) AS messages,
               coalesce(held.billed_micros, 0) + coalesce(u.dropped_micros, 0) AS billed_micros,
               coalesce(u.billed_micros, 0) AS was_micros, coalesce(u.messages, 0) AS was_messages
        FROM held FULL JOIN (SELECT * FROM usage WHERE number_id = of_number) AS u USING (day, category, market, class)
    ), wrong AS (
        SELECT * FROM right_ WHERE (messages, billed_micros) <> (was_messages, was_micros)
    ), counted AS (
        INSERT INTO usage AS known (number_id, day, category, market, class, messages, billed_micros)
        SELECT of_number, day, category, market, class, messages, billed_micros FROM wrong
        ON CONFLICT (number_id, day, category, market, class)
        DO UPDATE SET messages = excluded.messages, billed_micros = excluded.billed_micros
    ), noted AS (
        INSERT INTO repair (number_id, what, was_micros, is_micros, at)
        SELECT of_number, 'usage', was_micros, billed_micros, repaired_at FROM wrong
    )
    SELECT 'usage', count(*), coalesce(sum(billed_micros - was_micros), 0)::bigint INTO what, count, micros FROM wrong;
    IF count > 0 THEN RETURN NEXT; END IF;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION repair_books(text, timestamptz) SET search_path = pg_catalog, %I, pg_temp', current_schema());
END $$;
