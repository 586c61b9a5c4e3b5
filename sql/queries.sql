-- The named queries of the ledger. A line "-- name --" starts one; farebox/ledger.py names them, nothing builds SQL.

-- record_holds --
-- Records holds whose wallet's epoch is still the number's. FOR KEY SHARE waits for a rebuild under way (which locks the
-- row FOR UPDATE) and then reads the new epoch, so a worker that took from a lost wallet finds its hold missing in the
-- answer. It does not wait for a change of the number's settings.
WITH asked AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
                         $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
                         $17::bigint[], $18::bigint[], $19::text[], $20::uuid[], $21::boolean[], $22::bigint[], $23::bigint[],
                         $24::bigint[], $25::uuid[])
        AS t (hold_id, number_id, epoch, class, fare_micros, regime, category, market, why, rate_source, state_evidence, pool,
              recipient, template, note, client_reference, created_ms, expires_ms, opens, rides, overdrawn,
              rate_micros, markup_micros, tax_micros, sent_with)
), current AS (
    SELECT number_id, epoch FROM number WHERE number_id = ANY ($2::text[]) FOR KEY SHARE
)
INSERT INTO hold (hold_id, number_id, epoch, state, class, fare_micros, regime, category, market, why, rate_source,
                  state_evidence, pool, recipient, template, note, client_reference, created_at, expires_at,
                  opens, rides, overdrawn, rate_micros, markup_micros, tax_micros, sent_with)
SELECT hold_id, number_id, epoch, 'reserved', class, fare_micros, regime, category, market, why, rate_source,
       state_evidence, pool, recipient, template, note, client_reference,
       to_timestamp(created_ms / 1000.0), to_timestamp(expires_ms / 1000.0), opens, rides, overdrawn,
       rate_micros, markup_micros, tax_micros, sent_with
FROM asked JOIN current USING (number_id, epoch)
RETURNING hold_id;

-- accept_holds --
-- The upstream took these messages. A status may have come first: then only the wamid is added.
-- Rows are locked in one order, here and in end_holds: two batches that share holds must not wait for each other.
WITH locked AS (
    SELECT hold_id FROM hold WHERE hold_id = ANY ($1::uuid[]) ORDER BY hold_id FOR UPDATE
)
UPDATE hold SET wamid = coalesce(hold.wamid, asked.wamid), recipient = coalesce(asked.wa_id, hold.recipient),
                state = CASE WHEN hold.state = ANY ($3::text[]) THEN $4 ELSE hold.state END
FROM unnest($1::uuid[], $2::text[], $5::text[]) AS asked (hold_id, wamid, wa_id) JOIN locked USING (hold_id)
WHERE hold.hold_id = asked.hold_id;

-- holds_by_reference --
-- Finds the holds that statuses speak of, by hold id or by wamid.
SELECT hold_id, number_id, state, class, fare_micros, category, market, wamid, pool, delivered_at IS NOT NULL AS delivered,
       state_evidence LIKE 'fep%' AS in_free_entry_point,
       state_evidence LIKE 'fep_offer%' AS opened_free_entry_point, rate_source LIKE 'bid %' AS bid, regime,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,
       recipient, opens, sent_with
FROM hold WHERE hold_id = ANY ($1::uuid[]) OR sent_with = ANY ($1::uuid[]) OR wamid = ANY ($2::text[]);

-- end_holds --
-- Ends holds by one event and books what is charged, in one statement: state, entry and balance move together.
-- `current` takes the lock that makes a rebuild wait for us, or us for it; `mine` locks the holds in one order.
-- A delivery that names a conversation of WhatsApp is charged only if it is the first of that conversation (`claimed`).
WITH asked AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::jsonb[], $5::text[], $10::text[], $11::bigint[],
                         $12::text[], $13::jsonb[])
        AS t (hold_id, number_id, billed_micros, webhook, wamid, conversation_id, conversation_until_ms, pool, drift)
), current AS (
    SELECT number_id, epoch FROM number WHERE number_id = ANY ($2::text[]) FOR KEY SHARE
), mine AS (
    SELECT hold_id, state FROM hold WHERE hold_id = ANY ($1::uuid[]) ORDER BY hold_id FOR UPDATE
), claimed AS (
    INSERT INTO conversation (number_id, conversation_id, hold_id)
    SELECT number_id, conversation_id, hold_id FROM asked JOIN mine USING (hold_id)
    WHERE conversation_id IS NOT NULL AND billed_micros > 0 AND mine.state = ANY ($8::text[])
    ON CONFLICT DO NOTHING
    RETURNING hold_id
), ended AS (
    UPDATE hold SET state = $6, ended_by = $7, webhook = asked.webhook, drift = asked.drift,
                    billed_micros = CASE WHEN asked.conversation_id IS NULL
                                           OR hold.hold_id IN (SELECT hold_id FROM claimed)
                                         THEN asked.billed_micros ELSE 0 END,
                    wamid = coalesce(hold.wamid, asked.wamid), late = hold.ended_at IS NOT NULL,
                    pool = coalesce(asked.pool, hold.pool),
                    conversation_until = to_timestamp(asked.conversation_until_ms / 1000.0),
                    ended_at = to_timestamp($9::bigint / 1000.0)
    FROM asked JOIN current USING (number_id) JOIN mine USING (hold_id)
    WHERE hold.hold_id = asked.hold_id AND hold.number_id = asked.number_id AND hold.state = ANY ($8::text[])
    RETURNING hold.hold_id, hold.number_id, hold.billed_micros, current.epoch, hold.late
), booked AS (
    INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, hold_id, at)
    SELECT number_id, 'settle', 'number', 'usage', billed_micros, hold_id, to_timestamp($9::bigint / 1000.0)
    FROM ended WHERE billed_micros > 0
    RETURNING number_id, amount_micros
), charged AS (
    SELECT number_id, sum(amount_micros) AS total_micros FROM booked GROUP BY number_id
), locked AS (  -- in one order, so that two workers that settle for the same numbers do not wait for each other
    SELECT number_id, total_micros FROM balance JOIN charged USING (number_id) ORDER BY number_id FOR UPDATE OF balance
), moved AS (
    UPDATE balance SET balance_micros = balance_micros - locked.total_micros
    FROM locked WHERE balance.number_id = locked.number_id
)
SELECT hold_id, number_id, billed_micros, epoch, late FROM ended;

-- next_rider --
-- The first message that rides the conversation of a hold and may still arrive: it carries the fare if the opener fails.
SELECT hold_id, number_id, state, class, fare_micros, category, market, wamid, pool, delivered_at IS NOT NULL AS delivered,
       state_evidence LIKE 'fep%' AS in_free_entry_point,
       state_evidence LIKE 'fep_offer%' AS opened_free_entry_point, rate_source LIKE 'bid %' AS bid, regime,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,
       recipient, opens, sent_with
FROM hold WHERE rides = $1 AND state = ANY ($2::text[]) ORDER BY created_at, hold_id LIMIT 1;

-- carry_conversation --
-- Hands a conversation that failed to open to the message that rides it: that one is set aside for now.
WITH current AS (
    SELECT number_id, epoch FROM number WHERE number_id = $4 FOR KEY SHARE
), carried AS (
    UPDATE hold SET fare_micros = $3, class = $5, opens = $6, rides = NULL,
                    (rate_source, rate_micros, markup_micros, tax_micros, pool) =
                        (SELECT rate_source, rate_micros, markup_micros, tax_micros, pool FROM hold WHERE hold_id = $1),
                    why = 'carries the fare of a conversation whose first message failed'
    FROM current WHERE hold.hold_id = $2 AND hold.state = ANY ($7::text[])
    RETURNING hold.hold_id, current.epoch
), others AS (
    UPDATE hold SET rides = $2 FROM carried WHERE hold.rides = $1 AND hold.hold_id <> $2
)
SELECT hold_id, epoch FROM carried;

-- note_delivery --
-- A delivery came without a price (the other of delivered and read carries it): remembered for the day the hold expires.
UPDATE hold SET delivered_at = coalesce(delivered_at, to_timestamp($2::bigint / 1000.0))
WHERE hold_id = ANY ($1::uuid[]) AND ended_at IS NULL;

-- expired_holds --
SELECT hold_id FROM hold
WHERE state IN ('reserved', 'accepted') AND expires_at <= to_timestamp($1::bigint / 1000.0)
ORDER BY expires_at LIMIT $2;

-- credit_topup --
-- Books a top-up once: a repeated reference books nothing and returns nothing.
WITH current AS (
    SELECT number_id, epoch FROM number WHERE number_id = $2 FOR KEY SHARE
), added AS (
    INSERT INTO topup (topup_id, number_id, reference, method, amount_micros, state, created_at)
    SELECT $1, number_id, $3, $4, $5, 'succeeded', to_timestamp($6::bigint / 1000.0) FROM current
    ON CONFLICT (number_id, reference) DO NOTHING
    RETURNING topup_id, number_id, amount_micros
), booked AS (
    INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, topup_id, at)
    SELECT number_id, 'topup', 'outside', 'number', amount_micros, topup_id, to_timestamp($6::bigint / 1000.0) FROM added
), moved AS (
    UPDATE balance SET balance_micros = balance_micros + added.amount_micros
    FROM added WHERE balance.number_id = added.number_id
)
SELECT added.topup_id, current.epoch FROM added, current;

-- topup_by_reference --
SELECT topup_id, number_id, reference, method, amount_micros, state, created_at FROM topup
WHERE number_id = $1 AND reference = $2;

-- topups --
SELECT topup_id, number_id, reference, method, amount_micros, state, created_at FROM topup
WHERE number_id = $1 ORDER BY created_at DESC, topup_id LIMIT $2;

-- lock_number --
SELECT epoch FROM number WHERE number_id = $1 FOR UPDATE;

-- next_epoch --
-- Committed before a wallet of that epoch is written, so that no epoch is ever handed out twice. Of two that ask at once
-- one gets it.
UPDATE number SET epoch = epoch + 1 WHERE number_id = $1 AND epoch = $2 RETURNING epoch;

-- wallet_truth --
-- What a wallet must hold. One statement, so one snapshot: balance and open holds belong together.
SELECT b.balance_micros,
       coalesce((SELECT sum(fare_micros) FROM hold WHERE number_id = $1 AND state IN ('reserved', 'accepted')), 0)::bigint
           AS held_micros,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(hold_id, fare_micros, pool)), '[]') FROM hold
        WHERE number_id = $1 AND state IN ('reserved', 'accepted')
          AND (fare_micros > 0 OR pool IS NOT NULL OR opens IS NOT NULL)) AS holds,
       (SELECT coalesce(jsonb_object_agg(pool, used), '{}') FROM
           (SELECT pool, count(*) AS used FROM hold WHERE number_id = $1 AND pool = ANY ($2::text[])
            AND (ended_by IS NULL OR ended_by = 'deliver') GROUP BY pool) AS pools) AS pools
FROM balance b WHERE b.number_id = $1;

-- windows_of --
SELECT user_id, kind, ends_at_ms FROM open_window WHERE number_id = $1 AND ends_at_ms > $2;

-- conversations_of --
-- Conversations that are open, or pending because the message that opens them has not arrived yet.
SELECT recipient AS user_id, opens AS category, hold_id, class,
       coalesce((extract(epoch FROM conversation_until) * 1000)::bigint, 0) AS ends_at_ms
FROM hold WHERE number_id = $1 AND opens IS NOT NULL
  AND (conversation_until > to_timestamp($2::bigint / 1000.0)
       OR (conversation_until IS NULL AND state IN ('reserved', 'accepted')))
ORDER BY created_at;

-- open_windows --
-- Windows only grow; a repeated or late webhook never shortens one. With a start, only one that was not open then (open.lua).
INSERT INTO open_window (number_id, user_id, kind, ends_at_ms)
SELECT asked.number_id, asked.user_id, asked.kind, asked.ends_at_ms
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
    AS asked (number_id, user_id, kind, ends_at_ms, start_ms)
WHERE NOT EXISTS (SELECT FROM open_window AS known
                  WHERE (known.number_id, known.user_id, known.kind) = (asked.number_id, asked.user_id, asked.kind)
                    AND known.ends_at_ms > asked.start_ms)
ON CONFLICT (number_id, user_id, kind) DO UPDATE SET ends_at_ms = excluded.ends_at_ms
WHERE open_window.ends_at_ms < excluded.ends_at_ms;

-- close_windows --
DELETE FROM open_window WHERE number_id = $1 AND user_id = ANY ($2::text[]) AND kind = ANY ($3::text[]);

-- close_window_of --
-- Closes a window if it is still the one that ends at this time.
DELETE FROM open_window WHERE number_id = $1 AND user_id = $2 AND kind = $3 AND ends_at_ms = $4 RETURNING user_id;

-- forget_windows --
DELETE FROM open_window WHERE ends_at_ms < $1;

-- ledger_position --
-- For the comparison with the wallet: stored balance, sum of entries, open holds.
SELECT n.number_id, n.epoch, n.currency, b.balance_micros,
       coalesce((SELECT sum(CASE WHEN into_book = 'number' THEN amount_micros ELSE -amount_micros END)
                 FROM entry e WHERE e.number_id = n.number_id), 0)::bigint AS entries_micros,
       coalesce((SELECT sum(fare_micros) FROM hold h
                 WHERE h.number_id = n.number_id AND state IN ('reserved', 'accepted')), 0)::bigint AS held_micros
FROM number n JOIN balance b USING (number_id)
WHERE n.number_id > $1 ORDER BY n.number_id LIMIT $2;

-- expected_positions --
-- What wallets must show, without the entries: they are compared by reconcile.
SELECT n.number_id, b.balance_micros,
       coalesce((SELECT sum(fare_micros) FROM hold h
                 WHERE h.number_id = n.number_id AND state IN ('reserved', 'accepted')), 0)::bigint AS held_micros
FROM number n JOIN balance b USING (number_id)
WHERE n.number_id > $1 ORDER BY n.number_id LIMIT $2;

-- balances_by_account --
SELECT n.account_id, n.currency, sum(b.balance_micros)::bigint AS balance_micros
FROM number n JOIN balance b USING (number_id) GROUP BY n.account_id, n.currency;

-- message --
SELECT h.*, n.currency, n.timezone FROM hold h JOIN number n USING (number_id)
WHERE h.hold_id = $1 OR h.wamid = $2 ORDER BY h.created_at DESC LIMIT 1;

-- drifts --
-- Deliveries that WhatsApp saw otherwise than we did, newest first. Hold ids sort by time: $2 to $3 is a span of time.
SELECT h.hold_id, h.number_id, h.wamid, h.created_at, h.ended_at, h.category, h.rate_source, h.billed_micros, h.drift,
       n.currency
FROM hold h JOIN number n USING (number_id)
WHERE h.drift IS NOT NULL AND ($1::text IS NULL OR h.number_id = $1) AND h.hold_id >= $2 AND h.hold_id < $3
ORDER BY h.hold_id DESC LIMIT $4;

-- shadow_report --
-- What a number sent in a span of time (hold ids sort by it), and what enforcement would have refused of it.
SELECT count(*) AS messages,
       count(*) FILTER (WHERE class = 'paid') AS paid_messages,
       coalesce(sum(billed_micros), 0)::bigint AS spend_micros,
       coalesce(sum(fare_micros) FILTER (WHERE ended_at IS NULL), 0)::bigint AS open_micros,
       count(*) FILTER (WHERE overdrawn) AS refused,
       coalesce(sum(coalesce(billed_micros, fare_micros)) FILTER (WHERE overdrawn), 0)::bigint AS refused_micros,
       min(created_at) FILTER (WHERE overdrawn) AS first_at, max(created_at) FILTER (WHERE overdrawn) AS last_at
FROM hold WHERE number_id = $1 AND hold_id >= $2 AND hold_id < $3;

-- entries --
SELECT e.entry_id, e.number_id, e.kind, e.from_book, e.into_book, e.amount_micros, e.hold_id, e.topup_id, e.at,
       h.wamid, h.category, h.market, t.reference
FROM entry e LEFT JOIN hold h USING (hold_id) LEFT JOIN topup t USING (topup_id)
WHERE e.number_id = $1 AND e.entry_id < $2 ORDER BY e.entry_id DESC LIMIT $3;

-- put_unmatched --
INSERT INTO unmatched_status (number_id, wamid, status, payload, created_at)
VALUES ($1, $2, $3, $4::jsonb, to_timestamp($5::bigint / 1000.0)) ON CONFLICT DO NOTHING;

-- take_unmatched --
-- Statuses whose hold is known by now, oldest first.
SELECT u.number_id, u.wamid, u.status, u.payload FROM unmatched_status u
WHERE EXISTS (SELECT FROM hold h WHERE h.wamid = u.wamid) ORDER BY u.created_at LIMIT $1;

-- drop_unmatched --
DELETE FROM unmatched_status WHERE number_id = $1 AND wamid = $2 AND status = $3;

-- now --
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint + offset_ms AS now_ms, offset_ms FROM clock;

-- set_clock --
UPDATE clock SET offset_ms = $1;

-- all_numbers --
SELECT n.*, a.markup_ppm, a.markup_fixed_micros, a.tax_ppm FROM number n JOIN account a USING (account_id);

-- all_starts --
SELECT waba_id, country, (extract(epoch FROM starts_at) * 1000)::bigint AS starts_ms FROM auth_international;

-- all_tiers --
-- Of the months that a delivery may still belong to: a message may arrive 30 days after it was sent.
SELECT waba_id, region, category, month, lower, (extract(epoch FROM reached_at) * 1000)::bigint AS reached_ms
FROM volume_tier WHERE month >= (SELECT to_char(max(to_date(month, 'YYYY-MM')) - interval '3 months', 'YYYY-MM') FROM volume_tier);

-- put_starts --
INSERT INTO auth_international (waba_id, country, starts_at)
SELECT $1, country, to_timestamp(starts_ms / 1000.0) FROM unnest($2::text[], $3::bigint[]) AS t (country, starts_ms)
ON CONFLICT (waba_id, country) DO UPDATE SET starts_at = excluded.starts_at
WHERE auth_international.starts_at <> excluded.starts_at
RETURNING country;

-- put_tiers --
INSERT INTO volume_tier (waba_id, region, category, month, lower, reached_at)
SELECT $1, region, category, month, lower, to_timestamp(reached_ms / 1000.0)
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
    AS t (region, category, month, lower, reached_ms)
ON CONFLICT (waba_id, region, category, month, lower) DO UPDATE SET reached_at = excluded.reached_at
WHERE volume_tier.reached_at > excluded.reached_at
RETURNING lower;

-- active_keys --
SELECT key_id, name, digest, numbers FROM api_key WHERE revoked_at IS NULL;

-- all_templates --
SELECT waba_id, name, language, category, status, bid_amount FROM template;

-- last_template_change --
SELECT coalesce(max(change_id), 0) AS change_id FROM template_change;

-- put_templates --
-- Takes over what a webhook or a list says about templates and returns what changed; what is not said (null) stays.
-- Only what changed is written, so that an unchanged list announces nothing. Passed over: a webhook older than the one
-- that spoke last, and a list that was asked for ($13) before a change that is known by now.
WITH asked AS (
    SELECT waba_id, name, language, category, status, coming, to_timestamp(coming_ms / 1000.0) AS coming_at, previous,
           bid_known, bid_amount, to_timestamp(said_ms / 1000.0) AS said_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[],
                $9::boolean[], $10::bigint[], $11::bigint[])
        AS t (waba_id, name, language, category, status, coming, coming_ms, previous, bid_known, bid_amount, said_ms)
    WHERE $13::bigint IS NULL OR NOT EXISTS (
        SELECT FROM template_change c
        WHERE (c.waba_id, c.name, c.language) = (t.waba_id, t.name, t.language) AND c.change_id > $13)
), known AS (
    SELECT template.* FROM template JOIN asked USING (waba_id, name, language)
    ORDER BY waba_id, name, language FOR UPDATE OF template
), fresh AS (
    SELECT a.waba_id, a.name, a.language, k AS was, coalesce(k.category, a.previous) AS old_category,
           coalesce(CASE WHEN k.category_said_at > a.said_at THEN k.category ELSE a.category END, k.category) AS category,
           coalesce(CASE WHEN k.status_said_at > a.said_at THEN k.status ELSE a.status END, k.status, '') AS status,
           CASE WHEN k.category_said_at > a.said_at THEN NULL ELSE a.coming END AS coming, a.coming_at,
           CASE WHEN a.bid_known THEN a.bid_amount ELSE k.bid_amount END AS bid_amount,
           CASE WHEN a.category IS NULL THEN k.category_said_at ELSE greatest(k.category_said_at, a.said_at) END
               AS category_said_at,
           CASE WHEN a.status IS NULL THEN k.status_said_at ELSE greatest(k.status_said_at, a.said_at) END
               AS status_said_at
    FROM asked a LEFT JOIN known k USING (waba_id, name, language)
    WHERE coalesce(k.category, a.category) IS NOT NULL
), said AS (  -- an announcement ends when the category changes, whether to the one announced or to another
    SELECT waba_id, name, language, was, old_category, category, status, bid_amount, category_said_at, status_said_at,
           nullif(coalesce(coming, CASE WHEN category = (was).category THEN (was).coming_category END), category)
               AS coming_category,
           CASE WHEN coming IS NULL OR coming = (was).coming_category THEN coalesce(coming_at, (was).coming_at)
                ELSE coming_at END AS coming_at
    FROM fresh
), written AS (
    INSERT INTO template (waba_id, name, language, category, status, coming_category, coming_at, bid_amount,
                          category_said_at, status_said_at, updated_at)
    SELECT waba_id, name, language, category, status, coming_category,
           CASE WHEN coming_category IS NOT NULL THEN coming_at END, bid_amount, category_said_at, status_said_at,
           to_timestamp($12::bigint / 1000.0)
    FROM said
    WHERE (category, status, coming_category, bid_amount, category_said_at, status_said_at) IS DISTINCT FROM
          ((was).category, (was).status, (was).coming_category, (was).bid_amount, (was).category_said_at,
           (was).status_said_at)
    ON CONFLICT (waba_id, name, language) DO UPDATE
    SET category = excluded.category, status = excluded.status, coming_category = excluded.coming_category,
        coming_at = excluded.coming_at, bid_amount = excluded.bid_amount, category_said_at = excluded.category_said_at,
        status_said_at = excluded.status_said_at, updated_at = excluded.updated_at
), news AS (
    SELECT waba_id, name, language, 'category' AS what, old_category AS old, category AS new, 'done' AS state,
           NULL::timestamptz AS due_at
    FROM said WHERE old_category <> category
    UNION ALL
    SELECT waba_id, name, language, 'category', category, coming_category, 'impending', coming_at
    FROM said WHERE coming_category IS DISTINCT FROM (was).coming_category AND coming_category IS NOT NULL
    UNION ALL
    SELECT waba_id, name, language, 'status', (was).status, status, 'done', NULL
    FROM said WHERE nullif((was).status, '') <> status
    UNION ALL
    SELECT waba_id, name, language, 'bid', (was).bid_amount::text, bid_amount::text, 'done', NULL
    FROM said WHERE (was).waba_id IS NOT NULL AND bid_amount IS DISTINCT FROM (was).bid_amount
)
INSERT INTO template_change (waba_id, name, language, what, old, new, state, due_at, source, at)
SELECT waba_id, name, language, what, old, new, state, due_at, $14, to_timestamp($12::bigint / 1000.0) FROM news
RETURNING *;

-- templates_after --
-- A page of templates, each with its last change and its last change of category. `place` is where the page ended.
SELECT t.*, concat_ws('/', t.waba_id, t.name, t.language) AS place,
       (SELECT max(change_id) FROM template_change c
        WHERE (c.waba_id, c.name, c.language) = (t.waba_id, t.name, t.language)) AS last_change_id,
       (SELECT max(change_id) FROM template_change c
        WHERE (c.waba_id, c.name, c.language) = (t.waba_id, t.name, t.language) AND c.what = 'category')
           AS last_category_change_id
FROM template t
WHERE ($1::text IS NULL OR t.waba_id = $1) AND ($2::text IS NULL OR t.name = $2)
  AND concat_ws('/', t.waba_id, t.name, t.language) COLLATE "C" > $3
ORDER BY concat_ws('/', t.waba_id, t.name, t.language) COLLATE "C" LIMIT $4;

-- template_changes_named --
SELECT * FROM template_change WHERE change_id = ANY ($1::bigint[]);

-- template_changes --
SELECT * FROM template_change
WHERE ($1::text IS NULL OR waba_id = $1) AND ($2::text IS NULL OR name = $2) AND change_id < $3
ORDER BY change_id DESC LIMIT $4;

-- Admin reads and writes.

-- account --
SELECT account_id, name, currency, country, tax_id, markup_ppm, markup_fixed_micros, tax_ppm, created_at
FROM account WHERE account_id = $1;

-- put_account --
-- Creates an account, or changes the columns that $7 names. `created` looks at what was there before the statement.
INSERT INTO account (account_id, name, currency, country, tax_id, created_at, markup_ppm, markup_fixed_micros, tax_ppm)
VALUES ($1, $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0), $8, $9, $10)
ON CONFLICT (account_id) DO UPDATE
SET name = CASE WHEN 'name' = ANY ($7::text[]) THEN excluded.name ELSE account.name END,
    currency = CASE WHEN 'currency' = ANY ($7::text[]) THEN excluded.currency ELSE account.currency END,
    country = CASE WHEN 'country' = ANY ($7::text[]) THEN excluded.country ELSE account.country END,
    tax_id = CASE WHEN 'tax_id' = ANY ($7::text[]) THEN excluded.tax_id ELSE account.tax_id END,
    markup_ppm = CASE WHEN 'markup_percent' = ANY ($7::text[]) THEN excluded.markup_ppm ELSE account.markup_ppm END,
    markup_fixed_micros = CASE WHEN 'markup_fixed' = ANY ($7::text[]) THEN excluded.markup_fixed_micros
                               ELSE account.markup_fixed_micros END,
    tax_ppm = CASE WHEN 'tax_percent' = ANY ($7::text[]) THEN excluded.tax_ppm ELSE account.tax_ppm END
RETURNING account.*, NOT EXISTS (SELECT FROM account WHERE account_id = $1) AS created;

-- number --
-- A number without its secrets: only whether they are set.
SELECT number_id, account_id, epoch, display_phone_number, waba_id, timezone, currency, dialect, regime,
       upstream_token IS NOT NULL AS upstream_token_set, app_secret IS NOT NULL AS app_secret_set,
       webhook_secret IS NOT NULL AS webhook_secret_set,
       app_url, mode, funds_rule, block_at_micros, low_balance_at_micros, auth_international, created_at
FROM number WHERE number_id = $1;

-- numbers_after --
SELECT number_id, account_id, epoch, display_phone_number, waba_id, timezone, currency, dialect, regime,
       upstream_token IS NOT NULL AS upstream_token_set, app_secret IS NOT NULL AS app_secret_set,
       webhook_secret IS NOT NULL AS webhook_secret_set,
       app_url, mode, funds_rule, block_at_micros, low_balance_at_micros, auth_international, created_at
FROM number WHERE number_id > $1 ORDER BY number_id LIMIT $2;

-- put_number --
-- Creates a number with its balance, or changes the columns that $18 names. Returns nothing where the currency would
-- change although amounts in the old one exist.
WITH written AS (
    INSERT INTO number (number_id, account_id, display_phone_number, waba_id, timezone, currency, dialect, regime,
                        upstream_token, app_secret, app_url, mode, funds_rule, block_at_micros, low_balance_at_micros,
                        webhook_secret, created_at, auth_international)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
            to_timestamp($17::bigint / 1000.0), $19::boolean)
    ON CONFLICT (number_id) DO UPDATE
    SET account_id = CASE WHEN 'account_id' = ANY ($18::text[]) THEN excluded.account_id ELSE number.account_id END,
        display_phone_number = CASE WHEN 'display_phone_number' = ANY ($18::text[]) THEN excluded.display_phone_number
                                    ELSE number.display_phone_number END,
        waba_id = CASE WHEN 'waba_id' = ANY ($18::text[]) THEN excluded.waba_id ELSE number.waba_id END,
        timezone = CASE WHEN 'timezone' = ANY ($18::text[]) THEN excluded.timezone ELSE number.timezone END,
        currency = CASE WHEN 'currency' = ANY ($18::text[]) THEN excluded.currency ELSE number.currency END,
        dialect = CASE WHEN 'dialect' = ANY ($18::text[]) THEN excluded.dialect ELSE number.dialect END,
        regime = CASE WHEN 'regime' = ANY ($18::text[]) THEN excluded.regime ELSE number.regime END,
        upstream_token = CASE WHEN 'upstream_token' = ANY ($18::text[]) THEN excluded.upstream_token
                              ELSE number.upstream_token END,
        app_secret = CASE WHEN 'app_secret' = ANY ($18::text[]) THEN excluded.app_secret ELSE number.app_secret END,
        app_url = CASE WHEN 'app_url' = ANY ($18::text[]) THEN excluded.app_url ELSE number.app_url END,
        mode = CASE WHEN 'mode' = ANY ($18::text[]) THEN excluded.mode ELSE number.mode END,
        funds_rule = CASE WHEN 'funds_rule' = ANY ($18::text[]) THEN excluded.funds_rule ELSE number.funds_rule END,
        block_at_micros = CASE WHEN 'block_at' = ANY ($18::text[]) THEN excluded.block_at_micros
                               ELSE number.block_at_micros END,
        low_balance_at_micros = CASE WHEN 'low_balance_at' = ANY ($18::text[]) THEN excluded.low_balance_at_micros
                                     ELSE number.low_balance_at_micros END,
        webhook_secret = CASE WHEN 'webhook_secret' = ANY ($18::text[]) THEN excluded.webhook_secret
                              ELSE number.webhook_secret END,
        auth_international = CASE WHEN 'auth_international' = ANY ($18::text[]) THEN excluded.auth_international
                                  ELSE number.auth_international END
    WHERE NOT ('currency' = ANY ($18::text[])) OR excluded.currency = number.currency
          OR NOT (EXISTS (SELECT FROM hold WHERE hold.number_id = $1)
                  OR EXISTS (SELECT FROM entry WHERE entry.number_id = $1))
    RETURNING number_id
), opened AS (
    INSERT INTO balance (number_id) SELECT number_id FROM written ON CONFLICT (number_id) DO NOTHING
)
SELECT number_id, NOT EXISTS (SELECT FROM number WHERE number_id = $1) AS created FROM written;

-- ledger_money --
-- Balance and open holds, for numbers whose wallet is missing.
SELECT n.number_id, n.epoch, b.balance_micros,
       coalesce((SELECT sum(fare_micros) FROM hold h
                 WHERE h.number_id = n.number_id AND state IN ('reserved', 'accepted')), 0)::bigint AS held_micros
FROM number n JOIN balance b USING (number_id) WHERE n.number_id = ANY ($1::text[]);

-- known_numbers --
SELECT number_id FROM number WHERE number_id = ANY ($1::text[]);

-- any_number --
SELECT number_id FROM number LIMIT 1;

-- keys_after --
-- A page of keys in the order they were made; $1 is the last key of the page before, or null.
SELECT key_id, name, numbers, created_at, revoked_at FROM api_key
WHERE $1::uuid IS NULL OR (created_at, key_id) > (SELECT created_at, key_id FROM api_key WHERE key_id = $1)
ORDER BY created_at, key_id LIMIT $2;

-- add_key --
INSERT INTO api_key (key_id, name, digest, numbers, created_at)
VALUES ($1, $2, $3, $4, to_timestamp($5::bigint / 1000.0))
RETURNING key_id, name, numbers, created_at, revoked_at;

-- revoke_key --
-- The first revocation counts; a repeated one changes nothing, and announces nothing that matters.
UPDATE api_key SET revoked_at = coalesce(revoked_at, to_timestamp($2::bigint / 1000.0)) WHERE key_id = $1
RETURNING key_id;
