-- Movements are compared with their entries, and repair_books adds an entry that is not there, as its movement says it.

CREATE INDEX movement_other ON movement (other_number) WHERE other_number IS NOT NULL;

DO $$
DECLARE
    before text := pg_get_functiondef('repair_books(text, timestamptz)'::regprocedure);
    place  text := '    SELECT coalesce(sum(CASE WHEN into_book = ''number''';
    after  text := replace(before, place, $added$    WITH sides AS (
        SELECT movement_id, kind, amount_micros, reason, at FROM movement WHERE number_id = of_number
        UNION ALL
        SELECT movement_id, kind, -amount_micros, reason, at FROM movement WHERE other_number = of_number
    ), added AS (
        INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, movement_id, reason, at)
        SELECT of_number, kind,
               CASE WHEN amount_micros < 0 THEN 'number' WHEN kind = 'transfer' THEN 'transit' ELSE 'outside' END,
               CASE WHEN amount_micros > 0 THEN 'number' WHEN kind = 'transfer' THEN 'transit' ELSE 'outside' END,
               abs(amount_micros), movement_id, reason, at
        FROM sides
        WHERE NOT EXISTS (SELECT FROM entry e WHERE e.movement_id = sides.movement_id AND e.number_id = of_number)
          AND NOT EXISTS (SELECT FROM dropped_month d WHERE d.month = date_trunc('month', sides.at AT TIME ZONE 'UTC'))
        RETURNING CASE WHEN into_book = 'number' THEN amount_micros ELSE -amount_micros END AS micros
    )
    SELECT 'movements', count(*), coalesce(sum(added.micros), 0)::bigint INTO what, count, micros FROM added;
    IF count > 0 THEN RETURN NEXT; END IF;

$added$ || place);
BEGIN
    ASSERT after <> before, 'repair_books is not as 0014 made it';
    EXECUTE after;
END $$;
