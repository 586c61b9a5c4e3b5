-- What the page reads every morning, in few rows: conversations beside messages, and the roll-up of all categories and
-- markets together. A year of five numbers in ten markets is 90,000 rows of usage, and 3,650 of usage_total.

-- Conversations that the messages of a row opened: of a regime that charges by conversation, counted at the delivery that
-- opened one, in its message's category, market and class. No money hangs on it, so reconcile does not compare it.
ALTER TABLE usage ADD COLUMN conversations bigint NOT NULL DEFAULT 0 CHECK (conversations >= 0);
UPDATE usage SET conversations = opened.conversations
FROM (SELECT number_id, usage_day, category, market, class, count(*) AS conversations FROM hold
      WHERE state = 'settled' AND conversation_until IS NOT NULL GROUP BY number_id, usage_day, category, market, class) AS opened
WHERE (usage.number_id, usage.day, usage.category, usage.market, usage.class)
    = (opened.number_id, opened.usage_day, opened.category, opened.market, opened.class);

-- The sums of usage by number, day and class. A trigger alone writes it, in the transaction that changes usage: it can not
-- differ. It is not kept by the month, because a month of days is quickly summed up and the page asks for days as well.
CREATE TABLE usage_total (
    number_id      text NOT NULL,
    day            date NOT NULL,
    class          text NOT NULL,
    messages       bigint NOT NULL,
    conversations  bigint NOT NULL,
    billed_micros  bigint NOT NULL,
    PRIMARY KEY (number_id, day, class)
) WITH (fillfactor = 70);  -- as usage
INSERT INTO usage_total
SELECT number_id, day, class, sum(messages), sum(conversations), sum(billed_micros) FROM usage GROUP BY number_id, day, class;

-- One statement for all rows that a statement changed, and in one order, so that two workers do not wait for each other.
CREATE FUNCTION total_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO usage_total AS known
        SELECT number_id, day, class, sum(messages), sum(conversations), sum(billed_micros)
        FROM added GROUP BY number_id, day, class ORDER BY number_id, day, class
        ON CONFLICT (number_id, day, class) DO UPDATE
        SET messages = known.messages + excluded.messages, conversations = known.conversations + excluded.conversations,
            billed_micros = known.billed_micros + excluded.billed_micros;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO usage_total AS known
        SELECT number_id, day, class, sum(messages), sum(conversations), sum(billed_micros)
        FROM (SELECT number_id, day, class, messages, conversations, billed_micros FROM added
              UNION ALL
              SELECT number_id, day, class, -messages, -conversations, -billed_micros FROM removed) AS moved
        GROUP BY number_id, day, class
        HAVING (sum(messages), sum(conversations), sum(billed_micros)) <> (0, 0, 0)  -- retention moves no sum
        ORDER BY number_id, day, class
        ON CONFLICT (number_id, day, class) DO UPDATE
        SET messages = known.messages + excluded.messages, conversations = known.conversations + excluded.conversations,
            billed_micros = known.billed_micros + excluded.billed_micros;
    ELSE
        UPDATE usage_total AS known
        SET messages = known.messages - gone.messages, conversations = known.conversations - gone.conversations,
            billed_micros = known.billed_micros - gone.billed_micros
        FROM (SELECT number_id, day, class, sum(messages) AS messages, sum(conversations) AS conversations,
                     sum(billed_micros) AS billed_micros FROM removed GROUP BY number_id, day, class) AS gone
        WHERE (known.number_id, known.day, known.class) = (gone.number_id, gone.day, gone.class);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_added AFTER INSERT ON usage REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION total_usage();
CREATE TRIGGER usage_changed AFTER UPDATE ON usage REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION total_usage();
CREATE TRIGGER usage_removed AFTER DELETE ON usage REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION total_usage();
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION total_usage() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END $$;
