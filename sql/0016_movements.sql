-- Money that moves otherwise than by messages and top-ups: given back to its payer, moved to another number, adjusted by a
-- person, taken back by the payer's bank. Each is a document of its own, with a reason, and one entry for each number that it
-- moves. A transfer leaves one number for the book 'transit' and comes from there into the other, in one statement: what is
-- in transit is always nothing.

CREATE TABLE movement (
    movement_id    uuid PRIMARY KEY,
    number_id      text NOT NULL REFERENCES number,
    kind           text NOT NULL CHECK (kind IN ('refund', 'transfer', 'adjustment', 'dispute')),
    amount_micros  bigint NOT NULL CHECK (amount_micros <> 0),  -- into the number; below zero: out of it
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    reference      text NOT NULL CHECK (length(reference) BETWEEN 1 AND 200),
    topup_id       uuid REFERENCES topup,             -- of a refund or a dispute: the payment
    other_number   text REFERENCES number,            -- of a transfer: where it goes
    at             timestamptz NOT NULL,
    sent_at        timestamptz,                       -- of a refund: when its payment provider took it over
    UNIQUE (number_id, reference),                    -- a repeated reference is the same movement
    CHECK (kind <> 'transfer' OR (amount_micros < 0 AND other_number IS NOT NULL AND other_number <> number_id)),
    CHECK (kind <> 'dispute' OR topup_id IS NOT NULL)
);
CREATE INDEX movement_unsent ON movement (at) WHERE kind = 'refund' AND topup_id IS NOT NULL AND sent_at IS NULL;
CREATE INDEX movement_topup ON movement (topup_id) WHERE topup_id IS NOT NULL;

CREATE FUNCTION refuse_movement_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'movement % is booked: correct it with a further one', OLD.movement_id;
END $$;
CREATE TRIGGER movement_final BEFORE UPDATE ON movement FOR EACH ROW
    WHEN ((NEW.movement_id, NEW.number_id, NEW.kind, NEW.amount_micros, NEW.reason, NEW.reference, NEW.topup_id, NEW.other_number,
           NEW.at)
          IS DISTINCT FROM
          (OLD.movement_id, OLD.number_id, OLD.kind, OLD.amount_micros, OLD.reason, OLD.reference, OLD.topup_id, OLD.other_number,
           OLD.at)
          OR OLD.sent_at IS NOT NULL)
    EXECUTE FUNCTION refuse_movement_change();
CREATE TRIGGER movement_kept BEFORE DELETE ON movement FOR EACH ROW EXECUTE FUNCTION refuse_movement_change();
CREATE TRIGGER movement_no_truncate BEFORE TRUNCATE ON movement FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

ALTER TABLE entry ADD COLUMN movement_id uuid REFERENCES movement;
ALTER TABLE entry DROP CONSTRAINT entry_kind_check, DROP CONSTRAINT entry_from_book_check, DROP CONSTRAINT entry_into_book_check;
ALTER TABLE entry
    ADD CONSTRAINT entry_kind_check
        CHECK (kind IN ('topup', 'settle', 'refund', 'adjustment', 'correction', 'transfer', 'dispute')),
    ADD CONSTRAINT entry_from_book_check CHECK (from_book IN ('number', 'outside', 'usage', 'transit')),
    ADD CONSTRAINT entry_into_book_check CHECK (into_book IN ('number', 'outside', 'usage', 'transit')),
    ADD CONSTRAINT entry_of_movement
        CHECK ((movement_id IS NOT NULL) = (kind IN ('refund', 'adjustment', 'transfer', 'dispute'))),
    ADD CONSTRAINT entry_in_transit CHECK (('transit' IN (from_book, into_book)) = (kind = 'transfer'));
CREATE UNIQUE INDEX entry_movement ON entry (movement_id, number_id, at) WHERE movement_id IS NOT NULL;  -- moved once

-- As in 0014, and a movement is booked as it says.
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
       OR (b.movement_id IS NOT NULL AND NOT EXISTS (
               SELECT FROM movement m WHERE m.movement_id = b.movement_id AND m.kind = b.kind AND m.at = b.at
                   AND CASE WHEN b.into_book = 'number' THEN b.amount_micros ELSE -b.amount_micros END
                     = CASE b.number_id WHEN m.number_id THEN m.amount_micros WHEN m.other_number THEN -m.amount_micros END
               OFFSET 0))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry % books what no hold and no top-up says, and no movement', stray USING ERRCODE = 'check_violation';
    END IF;
    UPDATE balance SET entries_micros = entries_micros + moved.micros
    FROM (SELECT number_id, sum(CASE WHEN into_book = 'number' THEN amount_micros
                                     WHEN from_book = 'number' THEN -amount_micros ELSE 0 END)::bigint AS micros
          FROM booked GROUP BY number_id) AS moved
    WHERE balance.number_id = moved.number_id;
    RETURN NULL;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION check_entries() SET search_path = %I, pg_temp', current_schema());
END $$;

-- A number that is closed sends nothing and gets no funds. What it has left was given back, or kept, when it was closed.
ALTER TABLE number ADD COLUMN closed_at timestamptz;
CREATE TRIGGER number_closing AFTER UPDATE OF closed_at ON number FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
