-- The ledger by month, and what the database itself guarantees about it.
--
-- 1. hold and entry are partitioned by month in UTC, so that old months can be dropped (`farebox retain`) and indexes stay
--    small. A hold's month is that of its id, whose first 48 bits are milliseconds; an entry's is that of its time.
-- 2. An entry is never changed or deleted; a settled hold keeps its end. A hold is charged once, a top-up credited once.
-- 3. A stored balance and its entries move together, or the transaction fails at its end.
-- 4. Messages and charges a day are counted as they settle (usage).
-- 5. A database that was restored or failed over notices it, and then no wallet from before counts.

-- The id that sorts before all holds of a moment and after all earlier ones (first_hold_id in farebox/core/hold.py).
CREATE FUNCTION first_hold_id(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- The day of a moment in a number's time zone. A zone that this database does not know (its list may be older than ours)
-- must not keep a message from being charged: then the day is that of UTC.
CREATE FUNCTION local_day(at timestamptz, zone text) RETURNS date LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (at AT TIME ZONE zone)::date;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN (at AT TIME ZONE 'UTC')::date;
END $$;

-- Tables.

-- No foreign key leads to hold any more: a month of holds may be dropped before the last entry that names one of them.
-- What it was there for is checked in check_entries below.
ALTER TABLE conversation DROP CONSTRAINT conversation_hold_id_fkey;
CREATE INDEX conversation_hold ON conversation (hold_id);
ALTER TABLE hold RENAME TO hold_before;
ALTER TABLE entry RENAME TO entry_before;

CREATE TABLE hold (LIKE hold_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (hold_id);
ALTER TABLE hold ADD COLUMN usage_day date;  -- the day that counts it, in its number's time zone; null: not settled
CREATE SEQUENCE IF NOT EXISTS wallet_epoch;
CREATE SEQUENCE entry_serial;
CREATE TABLE entry (LIKE entry_before INCLUDING CONSTRAINTS) PARTITION BY RANGE (at);
ALTER TABLE entry ALTER COLUMN entry_id SET DEFAULT nextval('entry_serial');

-- Test clocks may stand in any year, and some rows have ids of other making.
CREATE TABLE hold_other PARTITION OF hold DEFAULT;
CREATE TABLE entry_other PARTITION OF entry DEFAULT;

CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is not emptied: farebox retain drops old months and keeps their totals';
END $$;

-- Makes the two partitions of a month; returns how many are new. A month of which the default partition has rows already
-- keeps them there: moving them would be deleting. Triggers for whole statements are not inherited, so each gets its own.
CREATE FUNCTION make_partition(month timestamp) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    starts timestamptz := month AT TIME ZONE 'UTC';
    ends   timestamptz := (month + interval '1 month') AT TIME ZONE 'UTC';
    holds  text := to_char(month, '"hold_"YYYY_MM');
    moves  text := to_char(month, '"entry_"YYYY_MM');
    made   int := 0;
BEGIN
    IF EXISTS (SELECT FROM dropped_month d WHERE d.month = make_partition.month::date) THEN
        RETURN 0;
    END IF;
    IF to_regclass(holds) IS NULL
       AND NOT EXISTS (SELECT FROM hold_other WHERE hold_id >= first_hold_id(starts) AND hold_id < first_hold_id(ends)) THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF hold FOR VALUES FROM (%L) TO (%L)',
                       holds, first_hold_id(starts), first_hold_id(ends));
        EXECUTE format('CREATE TRIGGER hold_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION refuse_truncate()', holds);
        made := made + 1;
    END IF;
    IF to_regclass(moves) IS NULL AND NOT EXISTS (SELECT FROM entry_other WHERE at >= starts AND at < ends) THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF entry FOR VALUES FROM (%L) TO (%L)', moves, starts, ends);
        EXECUTE format('CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION refuse_truncate()', moves);
        EXECUTE format('CREATE TRIGGER entry_checked AFTER INSERT ON %I REFERENCING NEW TABLE AS booked '
                       'FOR EACH STATEMENT EXECUTE FUNCTION check_entries()', moves);
        made := made + 1;
    END IF;
    RETURN made;
END $$;

-- Makes the partitions of a moment's month and of those that follow; returns how many are new. Called by everybody who
-- might be the first (migrate, the sweep): months ahead of need, so it does not wait for a busy table and may find another
-- at the same work; a later call does what this one could not. It runs as the owner of the tables.
CREATE FUNCTION make_partitions(at timestamptz, ahead int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '200ms' AS $$
DECLARE
    first timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    made  int := 0;
BEGIN
    FOR months IN 0 .. least(ahead, 12) LOOP
        made := made + make_partition(first + make_interval(months => months));
    END LOOP;
    RETURN made;
EXCEPTION WHEN lock_not_available OR duplicate_table THEN
    RETURN 0;
END $$;

-- What retention keeps of the entries of a month that it drops. balance = sum of these + sum of the entries that are there.
CREATE TABLE entry_total (
    number_id      text NOT NULL REFERENCES number,
    month          date NOT NULL,
    kind           text NOT NULL,
    from_book      text NOT NULL,
    into_book      text NOT NULL,
    entries        bigint NOT NULL,
    amount_micros  bigint NOT NULL,
    PRIMARY KEY (number_id, month, kind, from_book, into_book)
);
CREATE TRIGGER entry_total_append_only BEFORE UPDATE OR DELETE ON entry_total FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_total_no_truncate BEFORE TRUNCATE ON entry_total FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- Months that retention has dropped.
CREATE TABLE dropped_month (
    month       date PRIMARY KEY,
    dropped_at  timestamptz NOT NULL
);

-- What was delivered and charged: per number, day in its time zone, category, market and class, as the holds say. Written
-- by the statement that settles them, so it never differs from them. `dropped`: those whose month of holds was dropped.
CREATE TABLE usage (
    number_id         text NOT NULL REFERENCES number,
    day               date NOT NULL,
    category          text NOT NULL,
    market            text NOT NULL,
    class             text NOT NULL CHECK (class IN ('free', 'paid')),
    messages          bigint NOT NULL CHECK (messages >= dropped_messages),
    billed_micros     bigint NOT NULL CHECK (billed_micros >= dropped_micros),
    dropped_messages  bigint NOT NULL DEFAULT 0 CHECK (dropped_messages >= 0),
    dropped_micros    bigint NOT NULL DEFAULT 0 CHECK (dropped_micros >= 0),
    PRIMARY KEY (number_id, day, category, market, class)
) WITH (fillfactor = 70);  -- the rows of today change with every settlement: room for their next versions

-- What is checked.

ALTER TABLE balance ADD COLUMN entries_micros bigint NOT NULL DEFAULT 0;  -- the sum of its entries: written by a trigger alone

-- Looks at every entry that is written, and adds it up.
-- A charge belongs to a settled hold, with its amount and its time. Those of a settled hold never change (hold_final), so a
-- second charge would have the same time, and is stopped by the unique index on (hold_id, at): across months no index on
-- hold_id alone is possible. A top-up likewise.
-- It runs as the owner of the tables: nobody else writes entries_micros. OFFSET 0 keeps each look-up one by the primary key,
-- in the one partition that can have it, however many rows there are.
CREATE FUNCTION check_entries() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    stray bigint;
BEGIN
    SELECT b.entry_id INTO stray FROM booked b
    WHERE (b.kind = 'settle' AND NOT EXISTS (
               SELECT FROM hold h WHERE h.hold_id = b.hold_id AND h.number_id = b.number_id AND h.state = 'settled'
                                    AND h.billed_micros = b.amount_micros AND h.ended_at = b.at OFFSET 0))
       OR (b.kind = 'topup' AND NOT EXISTS (
               SELECT FROM topup t WHERE t.topup_id = b.topup_id AND t.number_id = b.number_id
                                     AND t.amount_micros = b.amount_micros AND t.created_at = b.at OFFSET 0))
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
CREATE TRIGGER entry_checked AFTER INSERT ON entry REFERENCING NEW TABLE AS booked
    FOR EACH STATEMENT EXECUTE FUNCTION check_entries();
CREATE TRIGGER entry_checked AFTER INSERT ON entry_other REFERENCING NEW TABLE AS booked
    FOR EACH STATEMENT EXECUTE FUNCTION check_entries();

-- Each row of entry moves an amount out of one book into another, so rows sum to zero by themselves. What is left to prove
-- is that the stored balance moved with them: two figures, written by two hands, are equal whenever a transaction ends.
CREATE FUNCTION check_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM balance WHERE number_id = NEW.number_id AND balance_micros <> entries_micros) THEN
        RAISE EXCEPTION 'the balance of number % did not move with its entries', NEW.number_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION refuse_hold_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'hold % has been charged, or holds are not deleted: correct a charge with a further entry', OLD.hold_id;
END $$;

-- The rows that are there move, before the triggers come: they were checked when they were written.
SELECT make_partition(month) FROM generate_series(
    date_trunc('month', greatest('2023-01-01', least(now(), (SELECT min(created_at) FROM hold_before),
                                                     (SELECT min(at) FROM entry_before))) AT TIME ZONE 'UTC'),
    now() AT TIME ZONE 'UTC' + interval '3 months', '1 month') AS month;
INSERT INTO hold SELECT b.*, CASE WHEN b.state = 'settled' THEN local_day(b.ended_at, n.timezone) END
FROM hold_before b JOIN number n USING (number_id) ORDER BY b.hold_id;
ALTER TABLE entry DISABLE TRIGGER entry_checked;
INSERT INTO entry SELECT * FROM entry_before ORDER BY entry_id;
ALTER TABLE entry ENABLE TRIGGER entry_checked;
SELECT setval('entry_serial', greatest(1, (SELECT max(entry_id) FROM entry)));
UPDATE balance SET entries_micros = s.micros
FROM (SELECT number_id, sum(CASE WHEN into_book = 'number' THEN amount_micros WHEN from_book = 'number' THEN -amount_micros
                                 ELSE 0 END)::bigint AS micros FROM entry GROUP BY number_id) AS s
WHERE balance.number_id = s.number_id;
INSERT INTO usage (number_id, day, category, market, class, messages, billed_micros)
SELECT number_id, usage_day, category, market, class, count(*), sum(billed_micros) FROM hold WHERE state = 'settled'
GROUP BY number_id, usage_day, category, market, class;
DROP TABLE entry_before, hold_before;

ALTER TABLE hold ADD PRIMARY KEY (hold_id), ADD FOREIGN KEY (number_id) REFERENCES number;
CREATE INDEX hold_wamid ON hold (wamid) WHERE wamid IS NOT NULL;
CREATE INDEX hold_open ON hold (number_id) WHERE state IN ('reserved', 'accepted');
CREATE INDEX hold_expiry ON hold (expires_at) WHERE state IN ('reserved', 'accepted');
CREATE INDEX hold_pool ON hold (number_id, pool) WHERE pool IS NOT NULL;
CREATE INDEX hold_rides ON hold (rides) WHERE rides IS NOT NULL;
CREATE INDEX hold_conversation ON hold (number_id, conversation_until) WHERE opens IS NOT NULL;
CREATE INDEX hold_conversation_user ON hold (number_id, recipient) WHERE opens IS NOT NULL;
CREATE INDEX hold_drift ON hold (hold_id) WHERE drift IS NOT NULL;
CREATE INDEX hold_sent_with ON hold (sent_with) WHERE sent_with IS NOT NULL;

ALTER TABLE entry ADD PRIMARY KEY (entry_id, at), ADD FOREIGN KEY (number_id) REFERENCES number,
    ADD FOREIGN KEY (topup_id) REFERENCES topup;
CREATE INDEX entry_number ON entry (number_id, entry_id);
CREATE UNIQUE INDEX entry_hold ON entry (hold_id, at) WHERE hold_id IS NOT NULL;     -- with check_entries: charged once
CREATE UNIQUE INDEX entry_topup ON entry (topup_id, at) WHERE topup_id IS NOT NULL;  -- with check_entries: credited once

CREATE CONSTRAINT TRIGGER balance_is_its_entries AFTER INSERT OR UPDATE ON balance DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.balance_micros <> NEW.entries_micros) EXECUTE FUNCTION check_balance();

CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON entry_other FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER hold_no_truncate BEFORE TRUNCATE ON hold FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER hold_no_truncate BEFORE TRUNCATE ON hold_other FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER hold_kept BEFORE DELETE ON hold FOR EACH ROW EXECUTE FUNCTION refuse_hold_change();
CREATE TRIGGER hold_final BEFORE UPDATE ON hold FOR EACH ROW
    WHEN (OLD.state = 'settled'
          AND (NEW.hold_id, NEW.number_id, NEW.state, NEW.billed_micros, NEW.ended_at, NEW.usage_day, NEW.category, NEW.market,
               NEW.class)
              IS DISTINCT FROM
              (OLD.hold_id, OLD.number_id, OLD.state, OLD.billed_micros, OLD.ended_at, OLD.usage_day, OLD.category, OLD.market,
               OLD.class))
    EXECUTE FUNCTION refuse_hold_change();

-- Retention (farebox/commands/retain.py).

-- From now on nothing in a month changes: a status that comes later than all others finds its hold and changes nothing.
CREATE FUNCTION leave_unchanged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;

-- Freezes a month for good and returns 0, or returns how many of its holds are still open and freezes nothing.
-- Creating the trigger waits for everybody who is changing the month; after that nobody can.
CREATE FUNCTION freeze_month(month date) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    name text;
    open bigint;
BEGIN
    FOREACH name IN ARRAY ARRAY[to_char(month, '"hold_"YYYY_MM'), to_char(month, '"entry_"YYYY_MM')] LOOP
        CONTINUE WHEN to_regclass(name) IS NULL
            OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(name) AND tgname = 'a_frozen');
        EXECUTE format('CREATE TRIGGER a_frozen BEFORE INSERT OR UPDATE ON %I FOR EACH ROW '
                       'EXECUTE FUNCTION leave_unchanged()', name);
    END LOOP;
    name := to_char(month, '"hold_"YYYY_MM');
    EXECUTE format('SELECT count(*) FROM %I WHERE state IN (''reserved'', ''accepted'')', name) INTO open;
    IF open > 0 THEN
        EXECUTE format('DROP TRIGGER a_frozen ON %I', name);
        EXECUTE format('DROP TRIGGER IF EXISTS a_frozen ON %I', to_char(month, '"entry_"YYYY_MM'));
    END IF;
    RETURN open;
END $$;

-- Carries the totals of a frozen month and drops it. It adds up beside the running gateway and needs the tables for itself
-- only at the end, for a moment: where they are busy, sends must not queue up behind it, so it waits briefly and often.
CREATE FUNCTION drop_month(month date, at timestamptz) RETURNS void LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
DECLARE
    holds text := to_char(month, '"hold_"YYYY_MM');
    moves text := to_char(month, '"entry_"YYYY_MM');
BEGIN
    IF to_regclass(moves) IS NOT NULL THEN
        EXECUTE format('INSERT INTO entry_total SELECT number_id, $1, kind, from_book, into_book, count(*), sum(amount_micros) '
                       'FROM %I GROUP BY number_id, kind, from_book, into_book', moves) USING month;
    END IF;
    EXECUTE format('UPDATE usage SET dropped_messages = dropped_messages + gone.messages, '
                   '                 dropped_micros = dropped_micros + gone.micros '
                   'FROM (SELECT number_id, usage_day, category, market, class, count(*) AS messages, '
                   '             sum(billed_micros) AS micros FROM %I WHERE state = ''settled'' GROUP BY number_id, usage_day, category, market, class) AS gone '
                   'WHERE (usage.number_id, usage.day, usage.category, usage.market, usage.class) '
                   '    = (gone.number_id, gone.usage_day, gone.category, gone.market, gone.class)', holds);
    DELETE FROM conversation WHERE hold_id >= first_hold_id(month::timestamp AT TIME ZONE 'UTC')
        AND hold_id < first_hold_id((month + interval '1 month') AT TIME ZONE 'UTC');
    INSERT INTO dropped_month VALUES (month, at);
    FOR attempt IN 1 .. 100 LOOP
        BEGIN
            EXECUTE format('DROP TABLE IF EXISTS %I, %I', holds, moves);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.2);
        END;
    END LOOP;
    RAISE EXCEPTION 'the tables of % are too busy to be dropped', to_char(month, 'YYYY-MM')
        USING ERRCODE = 'lock_not_available';
END $$;

-- A ledger that is older than the wallets.

-- Which history of which database this is: another after a restore from a dump or to a point in time, and after a standby
-- has taken over, which may have lost the last commits. It is the same after a restart, a crash included.
CREATE FUNCTION history_now() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                     left(pg_walfile_name(pg_current_wal_lsn()), 8),  -- the timeline
                     (SELECT oid FROM pg_database WHERE datname = current_database()),
                     pg_relation_filenode('number'))
$$;
CREATE TABLE history (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    identity  text NOT NULL
);
INSERT INTO history (identity) VALUES (history_now());

-- Every connection calls this before anything else. Where the history is another than the one written down, wallets may
-- know of money that the ledger has forgotten: every number gets a new epoch, so that nothing taken from one of them is
-- recorded. Epochs of the forgotten time must not come again: from here on they count from the microseconds of the real
-- clock, which no rebuilding outruns. Returns whether it did.
CREATE FUNCTION claim_history() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF EXISTS (SELECT FROM history WHERE identity = history_now()) THEN
        RETURN false;
    END IF;
    PERFORM FROM history FOR UPDATE;
    IF EXISTS (SELECT FROM history WHERE identity = history_now()) THEN
        RETURN false;  -- another was faster, and has committed
    END IF;
    UPDATE history SET identity = history_now();
    IF NOT EXISTS (SELECT FROM number) THEN
        RETURN false;  -- a new database
    END IF;
    PERFORM setval('wallet_epoch', greatest((SELECT last_value FROM wallet_epoch),
                                            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint));
    UPDATE number SET epoch = nextval('wallet_epoch');
    RETURN true;
END $$;

-- What runs as the owner must mean the owner's tables, whatever the caller's search path says.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['make_partition(timestamp)', 'make_partitions(timestamptz, int)', 'check_entries()',
                                'check_balance()', 'freeze_month(date)', 'drop_month(date, timestamptz)', 'history_now()',
                                'claim_history()'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END $$;
