-- The named queries of the ledger. A line "-- name --" starts one; farebox/ledger.py names them, nothing builds SQL.

-- record_holds --
-- Records holds whose wallet's epoch is still the number's. FOR KEY SHARE waits for a rebuild under way (which locks the
-- row FOR UPDATE) and then reads the new epoch, so a worker that took from a lost wallet finds its hold missing in the
-- answer. It does not wait for a change of the number's settings.
-- A hold of a keyed send is recorded only while the claim is still that attempt's own, and marks it as sent (`claimed`).
WITH asked AS (
    SELECT * FROM unnest($1::new_hold[])
), current AS (
    SELECT number_id, epoch FROM number WHERE number_id = ANY ($2::text[]) FOR KEY SHARE
), claimed AS (
    UPDATE idempotency SET state = 'sent', hold_id = leaving.hold_id
    FROM (SELECT DISTINCT claim_id, coalesce(sent_with, hold_id) AS hold_id
          FROM asked JOIN current USING (number_id, epoch) WHERE claim_id IS NOT NULL) AS leaving
    WHERE idempotency.claim_id = leaving.claim_id
    RETURNING idempotency.claim_id
)
INSERT INTO hold (hold_id, number_id, epoch, state, class, fare_micros, regime, category, market, why, rate_source,
                  state_evidence, pool, recipient, template, note, client_reference, created_at, expires_at,
                  opens, rides, overdrawn, rate_micros, markup_micros, tax_micros, sent_with, key_id)
SELECT hold_id, number_id, epoch, 'reserved', class, fare_micros, regime, category, market, why, rate_source,
       state_evidence, pool, recipient, template, note, client_reference,
       to_timestamp(created_ms / 1000.0), to_timestamp(expires_ms / 1000.0), opens, rides, overdrawn,
       rate_micros, markup_micros, tax_micros, sent_with, key_id
FROM asked JOIN current USING (number_id, epoch)
WHERE claim_id IS NULL OR claim_id IN (SELECT claim_id FROM claimed)
ON CONFLICT DO NOTHING  -- of a send that left in an outage, whose webhook was faster: no other hold of the batch may fail
RETURNING hold_id;

-- accept_holds --
-- The upstream took these messages. A status may have come first: then only the wamid is added.
-- Rows are locked in one order, here and in end_holds: two batches that share holds must not wait for each other.
-- Where nobody waits for them ($6 false) they do not wait for the disk either: one that the database's crash takes with it
-- is one that a crash of ours came before, and the status that names the hold brings the wamid again. What is committed
-- later lasts no sooner than this.
WITH asked AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $5::text[]) AS t (hold_id, wamid, wa_id)
), locked AS (
    SELECT hold.hold_id, coalesce(hold.wamid, asked.wamid) AS wamid, coalesce(asked.wa_id, hold.recipient) AS recipient,
           CASE WHEN hold.state = ANY ($3::text[]) THEN $4 ELSE hold.state END AS state
    FROM asked JOIN hold USING (hold_id) ORDER BY hold.hold_id FOR UPDATE OF hold
)
UPDATE hold SET wamid = locked.wamid, recipient = locked.recipient, state = locked.state
FROM locked, set_config('synchronous_commit', CASE WHEN $6 THEN current_setting('synchronous_commit') ELSE 'off' END, true)
WHERE hold.hold_id = locked.hold_id;

-- holds_by_reference --
-- Finds the holds that statuses speak of, by hold id or by wamid.
SELECT hold_id, number_id, state, class, fare_micros, category, market, wamid, pool, delivered_at IS NOT NULL AS delivered,
       state_evidence LIKE 'fep%' AS in_free_entry_point,
       state_evidence LIKE 'fep_offer%' AS opened_free_entry_point, rate_source LIKE 'bid %' AS bid, regime,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,
       recipient, opens, sent_with, key_id
FROM hold WHERE hold_id = ANY ($1::uuid[]) OR sent_with = ANY ($1::uuid[]) OR wamid = ANY ($2::text[]);

-- end_holds --
-- Ends holds by one event and books what is charged, in one statement: state, entry and balance move together.
-- What several holds are told alike is said once: each of `alike` is for the holds from its `first` to its `last` place.
-- `current` takes the lock that makes a rebuild wait for us, or us for it; `mine` locks the holds in one order, after that.
-- It has all that is asked of a hold beside it: where no plan may hash or merge, a join of the two would look at each of
-- one for each of the other.
-- A delivery that names a conversation of WhatsApp is charged only if it is the first of that conversation (`claimed`). One
-- that opened a conversation of another category than it was to open did just that: a rebuilt wallet must not know the other.
WITH asked AS MATERIALIZED (
    SELECT held.hold_id, alike.number_id, billed_micros, webhook, wamid, conversation_id, conversation_until_ms, pool, drift,
           opens
    FROM unnest($2::int[], $3::int[], $4::text[], $5::bigint[], $6::jsonb[], $7::text[], $8::text[], $9::bigint[], $10::text[],
                $11::jsonb[], $12::text[])
        AS alike (first, last, number_id, billed_micros, webhook, wamid, conversation_id, conversation_until_ms, pool, drift,
                  opens)
    CROSS JOIN LATERAL unnest(($1::uuid[])[first:last]) AS held (hold_id)
), current AS (
    SELECT number_id, epoch, local_day(to_timestamp($16::bigint / 1000.0), timezone) AS today
    FROM number WHERE number_id = ANY ($4::text[]) FOR KEY SHARE
), mine AS (
    SELECT asked.*, hold.state, hold.epoch, hold.fare_micros, hold.pool AS aside_pool, current.epoch AS current_epoch, today
    FROM asked JOIN current USING (number_id) JOIN hold USING (hold_id, number_id) ORDER BY hold_id FOR UPDATE OF hold
), claimed AS (
    INSERT INTO conversation (number_id, conversation_id, hold_id)
    SELECT number_id, conversation_id, hold_id FROM mine
    WHERE conversation_id IS NOT NULL AND billed_micros > 0 AND state = ANY ($15::text[])
    ON CONFLICT DO NOTHING
    RETURNING hold_id
), ended AS (
    UPDATE hold SET state = $13, ended_by = $14, webhook = mine.webhook, drift = mine.drift,
                    billed_micros = CASE WHEN mine.conversation_id IS NULL
                                           OR hold.hold_id IN (SELECT hold_id FROM claimed)
                                         THEN mine.billed_micros ELSE 0 END,
                    wamid = coalesce(hold.wamid, mine.wamid), late = hold.ended_at IS NOT NULL,
                    pool = coalesce(mine.pool, hold.pool),
                    conversation_until = to_timestamp(mine.conversation_until_ms / 1000.0),
                    opens = coalesce(mine.opens, hold.opens),
                    ended_at = to_timestamp($16::bigint / 1000.0),
                    usage_day = CASE WHEN $14 = 'deliver' THEN mine.today END
    FROM mine
    WHERE hold.hold_id = mine.hold_id AND hold.state = ANY ($15::text[])
    RETURNING hold.hold_id, hold.number_id, hold.billed_micros, mine.current_epoch, hold.late,
              mine.state = ANY ($17::text[]) AND mine.epoch <> mine.current_epoch AS older,
              mine.fare_micros AS aside_micros, mine.aside_pool,
              hold.usage_day, hold.category, hold.market, hold.class, hold.key_id, hold.opens,
              hold.conversation_until IS NOT NULL AS opened
), booked AS (
    INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, hold_id, at)
    SELECT number_id, 'settle', 'number', 'usage', billed_micros, hold_id, to_timestamp($16::bigint / 1000.0)
    FROM ended WHERE billed_micros > 0
    RETURNING number_id, amount_micros
), charged AS (
    SELECT number_id, sum(amount_micros) AS total_micros FROM booked GROUP BY number_id
), locked AS (  -- in one order, so that two workers that settle for the same numbers do not wait for each other
    SELECT number_id, total_micros FROM balance JOIN charged USING (number_id) ORDER BY number_id FOR UPDATE OF balance
), moved AS (
    UPDATE balance SET balance_micros = balance_micros - locked.total_micros
    FROM locked WHERE balance.number_id = locked.number_id
), counted AS (  -- in one order too; a late charge counts on the day that it is charged
    INSERT INTO usage AS known (number_id, day, category, market, class, messages, billed_micros, conversations)
    SELECT number_id, usage_day, category, market, class, count(*), sum(billed_micros), count(*) FILTER (WHERE opened)
    FROM ended
    WHERE usage_day IS NOT NULL GROUP BY number_id, usage_day, category, market, class
    ORDER BY number_id, usage_day, category, market, class
    ON CONFLICT (number_id, day, category, market, class) DO UPDATE
    SET messages = known.messages + excluded.messages, billed_micros = known.billed_micros + excluded.billed_micros,
        conversations = known.conversations + excluded.conversations
), counted_of_keys AS (
    INSERT INTO key_spend AS known (key_id, number_id, day, billed_micros)
    SELECT key_id, number_id, usage_day, sum(billed_micros) FROM ended
    WHERE key_id IS NOT NULL AND usage_day IS NOT NULL AND billed_micros > 0 GROUP BY key_id, number_id, usage_day
    ORDER BY number_id, usage_day, key_id
    ON CONFLICT (number_id, day, key_id) DO UPDATE SET billed_micros = known.billed_micros + excluded.billed_micros
)
SELECT hold_id, number_id, billed_micros, current_epoch AS epoch, late, older, aside_micros, aside_pool, category, key_id,
       CASE WHEN billed_micros > 0 THEN usage_day::text END AS charged_day, opens
FROM ended;

-- next_rider --
-- The first message that rides the conversation of a hold and may still arrive: it carries the fare if the opener fails.
SELECT hold_id, number_id, state, class, fare_micros, category, market, wamid, pool, delivered_at IS NOT NULL AS delivered,
       state_evidence LIKE 'fep%' AS in_free_entry_point,
       state_evidence LIKE 'fep_offer%' AS opened_free_entry_point, rate_source LIKE 'bid %' AS bid, regime,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,
       recipient, opens, sent_with, key_id
FROM hold WHERE rides = $1 AND state = ANY ($2::text[]) ORDER BY created_at, hold_id LIMIT 1;

-- carry_conversation --
-- Hands a conversation that failed to open to the message that rides it: that one is set aside for now. Only while the wallet
-- that its fare was taken from is the number's ($8): one that was rebuilt meanwhile knows nothing of it.
WITH current AS (
    SELECT number_id, epoch FROM number WHERE number_id = $4 AND ($8::bigint IS NULL OR epoch = $8) FOR KEY SHARE
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
-- Open holds past their time, but for those that could not be ended just now ($3).
SELECT hold_id FROM hold
WHERE state IN ('reserved', 'accepted') AND expires_at <= to_timestamp($1::bigint / 1000.0) AND hold_id <> ALL ($3::uuid[])
ORDER BY expires_at LIMIT $2;

-- overdue --
-- How long the open hold that expires first is past its time, and how old it is, in ms; null where there is none such.
SELECT CASE WHEN expires_at <= now THEN (extract(epoch FROM now - expires_at) * 1000)::bigint END AS overdue_ms,
       (extract(epoch FROM now - created_at) * 1000)::bigint AS age_ms
FROM (SELECT expires_at, created_at, to_timestamp($1::bigint / 1000.0) AS now
      FROM hold WHERE state IN ('reserved', 'accepted') ORDER BY expires_at LIMIT 1) AS first;

-- credit_topup --
-- Books a top-up once: a repeated reference books nothing and returns nothing.
WITH current AS (
    SELECT number_id, epoch FROM number WHERE number_id = $2 FOR KEY SHARE
), added AS (
    INSERT INTO topup (topup_id, number_id, reference, method, amount_micros, state, created_at, credited_at)
    SELECT $1, number_id, $3, $4, $5, 'succeeded', to_timestamp($6::bigint / 1000.0), to_timestamp($6::bigint / 1000.0)
    FROM current
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

-- begin_topup --
-- Writes down a top-up whose money is on its way (or, as a draft, was only asked about): once per reference.
INSERT INTO topup (topup_id, number_id, reference, method, amount_micros, fee_micros, tax_micros, why, state, created_at)
SELECT $1, number_id, $3, $4, $5, $6, $7, $8, $9, to_timestamp($10::bigint / 1000.0) FROM number WHERE number_id = $2
ON CONFLICT (number_id, reference) DO NOTHING
RETURNING topup_id;

-- confirm_topup --
-- Credits a top-up that is on its way, once: the state decides who does. Entry, balance and state move together.
WITH current AS (
    SELECT number_id, epoch FROM number WHERE number_id = $2 FOR KEY SHARE
), credited AS (
    UPDATE topup SET state = 'succeeded', reason = NULL, action_url = NULL,
                     credited_at = to_timestamp($4::bigint / 1000.0), changed_at = to_timestamp($4::bigint / 1000.0)
    FROM current WHERE topup.topup_id = $1 AND topup.number_id = current.number_id AND topup.state = ANY ($3::text[])
    RETURNING topup.topup_id, topup.number_id, topup.amount_micros
), booked AS (
    INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, topup_id, at)
    SELECT number_id, 'topup', 'outside', 'number', amount_micros, topup_id, to_timestamp($4::bigint / 1000.0) FROM credited
), moved AS (
    UPDATE balance SET balance_micros = balance_micros + credited.amount_micros
    FROM credited WHERE balance.number_id = credited.number_id
)
SELECT credited.amount_micros, current.epoch FROM credited, current;

-- step_topup --
-- Moves a top-up into another state without moving money; returns nothing where its state is not among $2 any more. With $6
-- it is closed: no money can come of it any more.
UPDATE topup SET state = $3, reason = $4, action_url = NULL, changed_at = to_timestamp($5::bigint / 1000.0),
                 closed_at = CASE WHEN $6 THEN to_timestamp($5::bigint / 1000.0) END
WHERE topup_id = $1 AND state = ANY ($2::text[])
RETURNING topup_id;

-- note_payment --
-- What a provider says of a payment that is still on its way. Its name is kept for ever, and is one top-up's alone.
UPDATE topup SET provider_id = coalesce(provider_id, $2),
                 action_url = CASE WHEN state = 'pending' THEN $3 END, looked_at = to_timestamp($4::bigint / 1000.0)
WHERE topup_id = $1;

-- topup_by_reference --
SELECT * FROM topup WHERE number_id = $1 AND reference = $2;

-- topup --
SELECT * FROM topup WHERE topup_id = $1;

-- topup_of_event --
-- By its name at the provider, or by its own id, which an event carries that is faster than the answer to its charge.
SELECT * FROM topup WHERE method = $1 AND state <> 'draft' AND (provider_id = $2 OR topup_id::text = $3) LIMIT 1;

-- topups --
-- The latest top-ups of some numbers; previews are none.
SELECT * FROM topup WHERE number_id = ANY ($1::text[]) AND state <> 'draft' ORDER BY created_at DESC, topup_id LIMIT $2;

-- book_movement --
-- Books a movement of a number once per reference: document, entries, balances and the top-up that it is about move together.
-- Money that leaves was taken from a wallet, whose epoch ($9) must still be the number's; into a number it comes in any.
-- By a transfer or an adjustment nothing comes into a number that is closed.
-- Of a top-up ($7) it is booked only while its state is among $11 and $12 more of it can be given back.
WITH current AS (
    SELECT number_id, epoch, closed_at FROM number WHERE number_id = ANY (ARRAY[$2, $8]) ORDER BY number_id FOR KEY SHARE
), mine AS (
    SELECT epoch FROM current WHERE number_id = $2 AND ($9::bigint IS NULL OR epoch = $9)
      AND ($3 NOT IN ('transfer', 'adjustment') OR NOT EXISTS (
          SELECT FROM current WHERE closed_at IS NOT NULL AND (number_id = $8 OR $4::bigint > 0)))
), fits AS (
    SELECT topup_id FROM topup WHERE topup_id = $7 AND number_id = $2 AND state = ANY ($11::text[])
      AND refunded_micros + $12::bigint BETWEEN 0 AND amount_micros FOR UPDATE
), added AS (
    INSERT INTO movement (movement_id, number_id, kind, amount_micros, reason, reference, topup_id, other_number, at, sent_at)
    SELECT $1, $2, $3, $4::bigint, $5, $6, $7, $8, to_timestamp($10::bigint / 1000.0),
           CASE WHEN $14 THEN to_timestamp($10::bigint / 1000.0) END FROM mine
    WHERE $7 IS NULL OR EXISTS (SELECT FROM fits)
    ON CONFLICT (number_id, reference) DO NOTHING
    RETURNING *
), touched AS (
    UPDATE topup SET refunded_micros = refunded_micros + $12, changed_at = added.at,
                     reason = CASE WHEN $13 = 'disputed' THEN added.reason END,
                     state = coalesce($13, CASE WHEN refunded_micros + $12 = topup.amount_micros THEN 'refunded'
                                                ELSE 'succeeded' END)
    FROM added WHERE topup.topup_id = added.topup_id
), sides AS (
    SELECT movement_id, number_id, kind, amount_micros, reason, at, $8 IS NOT NULL AS transfer FROM added
    UNION ALL
    SELECT movement_id, other_number, kind, -amount_micros, reason, at, true FROM added WHERE other_number IS NOT NULL
), booked AS (
    INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, movement_id, reason, at)
    SELECT number_id, kind,
           CASE WHEN amount_micros < 0 THEN 'number' WHEN transfer THEN 'transit' ELSE 'outside' END,
           CASE WHEN amount_micros > 0 THEN 'number' WHEN transfer THEN 'transit' ELSE 'outside' END,
           abs(amount_micros), movement_id, reason, at
    FROM sides
), locked AS (
    SELECT number_id, sides.amount_micros FROM balance JOIN sides USING (number_id) ORDER BY number_id FOR UPDATE OF balance
), moved AS (
    UPDATE balance SET balance_micros = balance_micros + locked.amount_micros
    FROM locked WHERE balance.number_id = locked.number_id
)
SELECT mine.epoch, (SELECT epoch FROM current WHERE number_id = $8) AS into_epoch FROM added, mine;

-- movement_by_reference --
SELECT movement_id, amount_micros, kind, reason FROM movement WHERE number_id = $1 AND reference = $2;

-- close_number --
UPDATE number SET closed_at = coalesce(closed_at, to_timestamp($2::bigint / 1000.0)) WHERE number_id = $1 RETURNING closed_at;

-- open_number --
UPDATE number SET closed_at = NULL WHERE number_id = $1;

-- refundable --
-- Payments of a number that a provider can give back, the newest first.
SELECT * FROM topup WHERE number_id = $1 AND state = 'succeeded' AND method <> $2 AND refunded_micros < amount_micros
ORDER BY credited_at DESC, topup_id;

-- unsent_refunds --
-- Refunds that are booked, and not yet with the provider that has to pay them out.
SELECT m.movement_id, m.number_id, m.topup_id, -m.amount_micros AS micros, m.reference FROM movement m
WHERE m.kind = 'refund' AND m.topup_id IS NOT NULL AND m.sent_at IS NULL AND m.amount_micros < 0
  AND ($1::uuid IS NULL OR m.movement_id = $1)
ORDER BY m.at LIMIT $2;

-- refund_sent --
UPDATE movement SET sent_at = to_timestamp($2::bigint / 1000.0) WHERE movement_id = $1 AND sent_at IS NULL;

-- topups_under_way --
-- Payments that a provider has not decided yet and that were not looked at since $1, the oldest look first; a payment that
-- is older is looked at less often: at most ten times in its age. Those that an admin decides ($3) are left out.
SELECT * FROM topup
WHERE state = 'pending' AND method <> $3 AND created_at <= to_timestamp($1::bigint / 1000.0)
  AND (looked_at IS NULL OR looked_at <= to_timestamp($1::bigint / 1000.0)
                                         - (to_timestamp($1::bigint / 1000.0) - created_at) / 10)
ORDER BY looked_at NULLS FIRST LIMIT $2;

-- topups_to_watch --
-- Payments that came in since $1 and that nobody looked at since $2: their payer's bank may have taken them back unheard.
SELECT * FROM topup
WHERE state IN ('succeeded', 'disputed') AND method <> $3 AND credited_at > to_timestamp($1::bigint / 1000.0)
  AND coalesce(looked_at, credited_at) <= to_timestamp($2::bigint / 1000.0)
ORDER BY coalesce(looked_at, credited_at) LIMIT $4;

-- topups_unclosed --
-- Payments that have failed or were given up and that their provider may still take money for, the oldest look first; the
-- older one is, the less often.
SELECT * FROM topup
WHERE state IN ('failed', 'cancelled') AND closed_at IS NULL AND provider_id IS NOT NULL
  AND created_at > to_timestamp($2::bigint / 1000.0)
  AND coalesce(looked_at, changed_at) <= to_timestamp($1::bigint / 1000.0)
                                         - (to_timestamp($1::bigint / 1000.0) - created_at) / 10
ORDER BY looked_at NULLS FIRST LIMIT $3;

-- close_topup --
-- Its provider has said that no money can come of it any more.
UPDATE topup SET closed_at = to_timestamp($2::bigint / 1000.0)
WHERE topup_id = $1 AND closed_at IS NULL AND state IN ('failed', 'cancelled');

-- cancel_drafts --
-- Previews that nobody confirmed in time.
UPDATE topup SET state = 'cancelled', reason = 'it was not confirmed in time', changed_at = to_timestamp($1::bigint / 1000.0),
                 closed_at = to_timestamp($1::bigint / 1000.0)
WHERE state = 'draft' AND created_at <= to_timestamp($2::bigint / 1000.0) RETURNING topup_id;

-- confirm_draft --
-- The payer agrees to a preview that is not older than $3: from here on it is charged, under the reference that is given.
UPDATE topup SET state = 'pending', reference = coalesce($4, reference), changed_at = to_timestamp($5::bigint / 1000.0)
WHERE topup_id = $1 AND number_id = $2 AND state = 'draft' AND created_at > to_timestamp($3::bigint / 1000.0)
RETURNING topup_id;

-- put_card --
INSERT INTO payment_card (account_id, method, customer, card, brand, last4, expires, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8::bigint / 1000.0))
ON CONFLICT (account_id, method) DO UPDATE
SET (customer, card, brand, last4, expires) = (excluded.customer, excluded.card, excluded.brand, excluded.last4, excluded.expires);

-- card --
SELECT * FROM payment_card WHERE account_id = $1 AND method = $2;

-- cards --
SELECT * FROM payment_card WHERE account_id = $1 ORDER BY method;

-- drop_card --
DELETE FROM payment_card WHERE account_id = $1 AND method = $2 AND card = $3;

-- card_customer --
-- An account's name at a provider, which outlives its card.
SELECT customer FROM (
    SELECT customer, created_at FROM payment_card WHERE account_id = $1 AND method = $2
    UNION ALL
    SELECT customer, created_at FROM card_link WHERE account_id = $1 AND method = $2) AS known
ORDER BY created_at DESC LIMIT 1;

-- add_card_link --
INSERT INTO card_link (method, link_id, account_id, customer, created_at)
VALUES ($1, $2, $3, $4, to_timestamp($5::bigint / 1000.0));

-- card_link --
SELECT * FROM card_link WHERE method = $1 AND link_id = $2 AND ended_at IS NULL;

-- card_links_open --
-- Pages whose end nobody has told of and that were not looked at since $1; the older one is, the less often it is looked at.
-- $3: of an account alone, whose payer may just have come back: whatever their age.
SELECT * FROM card_link
WHERE ended_at IS NULL AND ($3::text IS NULL OR account_id = $3) AND coalesce(looked_at, created_at) <= to_timestamp($1::bigint / 1000.0)
        - CASE WHEN $3::text IS NULL THEN (to_timestamp($1::bigint / 1000.0) - created_at) / 10 ELSE interval '0' END
ORDER BY coalesce(looked_at, created_at) LIMIT $2;

-- end_card_links --
-- No card is saved any more from the pages that are open for an account.
UPDATE card_link SET ended_at = to_timestamp($3::bigint / 1000.0)
WHERE account_id = $1 AND method = $2 AND ended_at IS NULL;

-- note_card_link --
UPDATE card_link SET looked_at = to_timestamp($3::bigint / 1000.0),
                     ended_at = CASE WHEN $4 THEN to_timestamp($3::bigint / 1000.0) END
WHERE method = $1 AND link_id = $2;

-- pending_topups --
-- Of numbers: what is on its way to them.
SELECT number_id, sum(amount_micros)::bigint AS pending_micros FROM topup
WHERE number_id = ANY ($1::text[]) AND state = 'pending' GROUP BY number_id;

-- lock_watch --
-- One look at a number's money at a time, by whichever worker. Sends and settlements do not wait for it.
SELECT number_id FROM number WHERE number_id = $1 FOR NO KEY UPDATE;

-- watched --
-- A number's money, payments and rule, in one snapshot under lock_watch. `declines`: in a row, since the rule was set or a
-- payment succeeded. `daily_micros`: the mean of its last 7 full days. The cap counts charges, fees included, and those too
-- that failed and are not closed: they may turn out to be paid. What is on its way counts if it began after $3.
SELECT r.mode, r.method, r.threshold_micros, r.amount_micros, r.monthly_cap_micros,
       (extract(epoch FROM r.set_at) * 1000)::bigint AS set_ms, t.month::text AS month,
       b.balance_micros - coalesce((SELECT sum(fare_micros) FROM hold h WHERE h.number_id = n.number_id
                                    AND state IN ('reserved', 'accepted')), 0)::bigint AS available_micros,
       coalesce((SELECT sum(amount_micros) FROM topup p WHERE p.number_id = n.number_id AND state = 'pending'
                 AND created_at > to_timestamp($3::bigint / 1000.0)), 0)::bigint AS pending_micros,
       coalesce((SELECT sum(billed_micros) / 7 FROM usage u WHERE u.number_id = n.number_id
                 AND day >= t.today - 7 AND day < t.today), 0)::bigint AS daily_micros,
       p.in_flight, p.month_micros, d.declines, d.declined_ms
FROM number n JOIN balance b USING (number_id) LEFT JOIN renewal_rule r USING (number_id),
LATERAL (SELECT local_day(to_timestamp($2::bigint / 1000.0), n.timezone) AS today,
                date_trunc('month', local_day(to_timestamp($2::bigint / 1000.0), n.timezone))::date AS month) AS t,
LATERAL (SELECT coalesce(bool_or(state = 'pending'), false) AS in_flight,
                coalesce(sum(amount_micros + fee_micros) FILTER (
                    WHERE (closed_at IS NULL OR credited_at IS NOT NULL)
                      AND local_day(p.created_at, n.timezone) >= t.month), 0)::bigint AS month_micros,
                greatest(max(created_at) FILTER (WHERE credited_at IS NOT NULL), r.set_at) AS since
         FROM topup p WHERE p.number_id = n.number_id AND why = 'auto-renewal') AS p,
LATERAL (SELECT count(*) AS declines, (extract(epoch FROM max(changed_at)) * 1000)::bigint AS declined_ms FROM topup f
         WHERE f.number_id = n.number_id AND why = 'auto-renewal' AND state = 'failed' AND f.created_at >= p.since) AS d
WHERE n.number_id = $1;

-- declines_untold --
-- Declined auto-renewals of the rule as it is that nobody was told of.
SELECT t.topup_id, t.amount_micros, t.reason FROM topup t JOIN renewal_rule r USING (number_id)
WHERE t.number_id = $1 AND t.why = 'auto-renewal' AND t.state = 'failed' AND t.created_at >= r.set_at
  AND NOT EXISTS (SELECT FROM alert a WHERE (a.number_id, a.kind, a.occasion)
                                          = (t.number_id, 'renewal_declined', t.topup_id::text))
ORDER BY t.created_at;

-- confirmation_untold --
-- An automatic payment that waits for its payer, of which nobody was told.
SELECT topup_id, action_url, amount_micros + fee_micros AS charge_micros FROM topup t
WHERE number_id = $1 AND why = 'auto-renewal' AND state = 'pending' AND action_url IS NOT NULL
  AND NOT EXISTS (SELECT FROM alert a WHERE (a.number_id, a.kind, a.occasion)
                                          = (t.number_id, 'renewal_confirm', t.topup_id::text));

-- levels --
-- A number's levels; what is both in its list and its low_balance_at is one.
SELECT unit, value, low, crossings FROM alert_level l
WHERE number_id = $1 AND NOT (unit = 'amount' AND EXISTS (
    SELECT FROM alert_level n WHERE (n.number_id, n.unit, n.value) = (l.number_id, 'low_balance_at', l.value)))
ORDER BY unit, value;

-- move_level --
UPDATE alert_level SET low = $4::boolean, crossings = crossings + $4::boolean::int WHERE number_id = $1 AND unit = $2 AND value = $3
RETURNING crossings;

-- raise_alert --
-- Says something once for its occasion, to every channel of the number's account.
WITH raised AS (
    INSERT INTO alert (number_id, kind, occasion, sentence, available_micros, missing_micros, at)
    VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7::bigint / 1000.0))
    ON CONFLICT (number_id, kind, occasion) DO NOTHING
    RETURNING alert_id, number_id, at
), told AS (
    INSERT INTO alert_delivery (alert_id, channel_id, state, next_at)
    SELECT alert_id, channel_id, 'waiting', at FROM raised JOIN number USING (number_id) JOIN alert_channel USING (account_id)
)
SELECT alert_id FROM raised;

-- renewal_in_flight --
SELECT * FROM topup WHERE number_id = $1 AND why = 'auto-renewal' AND state = 'pending';

-- renewals_under_way --
-- The numbers whose automatic payment is on its way, or was declined in the last hour.
SELECT number_id FROM topup WHERE why = 'auto-renewal'
   AND (state = 'pending' OR (state = 'failed' AND changed_at > to_timestamp($1::bigint / 1000.0) - interval '1 hour'));

-- levels_to_watch --
-- The numbers with a level that is low (it may have to rise again) or is measured in days: no wallet tells of either.
SELECT DISTINCT number_id FROM alert_level WHERE low OR unit = 'days';

-- spikes --
-- The numbers that spent $4 or more in the first of some hours (hold ids sort by time: from $2 to $3), and what they spent in
-- the others, which are the same hour of the days before: the mean of those that cost anything; and in the mean hour of the
-- last 7 full days.
WITH hours AS (
    SELECT * FROM unnest($2::uuid[], $3::uuid[]) WITH ORDINALITY AS t (first, past, place)
), hour AS (
    SELECT number_id, sum(coalesce(billed_micros, fare_micros))::bigint AS micros
    FROM hold JOIN hours ON hold_id >= first AND hold_id < past AND place = 1
    GROUP BY number_id HAVING sum(coalesce(billed_micros, fare_micros)) >= $4
)
SELECT number_id, hour.micros AS hour_micros, b.balance_micros, coalesce(same.micros, 0)::bigint AS same_micros,
       coalesce((SELECT sum(billed_micros) / 168 FROM usage u WHERE u.number_id = hour.number_id
                 AND day >= local_day(to_timestamp($1::bigint / 1000.0), n.timezone) - 7
                 AND day < local_day(to_timestamp($1::bigint / 1000.0), n.timezone)), 0)::bigint AS mean_micros
FROM hour JOIN number n USING (number_id) JOIN balance b USING (number_id), LATERAL (
    SELECT avg(micros) FILTER (WHERE micros > 0) AS micros FROM (
        SELECT sum(coalesce(billed_micros, fare_micros)) AS micros
        FROM hold h JOIN hours ON h.hold_id >= first AND h.hold_id < past AND place > 1
        WHERE h.number_id = hour.number_id GROUP BY place) AS days
) AS same;

-- smart_rules --
-- Rules in effect whose amounts a formula has proposed, with what their numbers spent on each of the last 28 full days, the
-- latest first.
SELECT r.number_id, r.threshold_micros, r.amount_micros, r.proposal, b.balance_micros,
       (SELECT array_agg(micros ORDER BY back) FROM (
            SELECT back, coalesce(sum(u.billed_micros), 0)::bigint AS micros
            FROM generate_series(1, 28) AS back
            LEFT JOIN usage u ON u.number_id = r.number_id
                             AND u.day = local_day(to_timestamp($1::bigint / 1000.0), n.timezone) - back
            GROUP BY back) AS days) AS daily_micros
FROM renewal_rule r JOIN number n USING (number_id) JOIN balance b USING (number_id)
WHERE r.mode = 'smart' AND r.threshold_micros IS NOT NULL;

-- cards_ending --
-- The cards that end within $2 days and that the rule of a number charges.
SELECT n.number_id, n.account_id, c.method, c.brand, c.last4, c.expires, b.balance_micros
FROM payment_card c JOIN number n USING (account_id) JOIN renewal_rule r USING (number_id) JOIN balance b USING (number_id)
WHERE r.mode <> 'off' AND coalesce(r.method, c.method) = c.method
  AND c.expires < to_timestamp($1::bigint / 1000.0)::date + $2::int;

-- deliveries_due --
SELECT d.alert_id, d.channel_id, d.tries, c.kind AS channel, c.target, c.secret, a.kind, a.sentence, a.available_micros,
       a.missing_micros, a.at, a.number_id, n.account_id, n.currency
FROM alert_delivery d JOIN alert_channel c USING (channel_id) JOIN alert a USING (alert_id) JOIN number n USING (number_id)
WHERE d.state = 'waiting' AND d.next_at <= to_timestamp($1::bigint / 1000.0) ORDER BY d.next_at LIMIT $2;

-- delivery_tried --
UPDATE alert_delivery SET state = $3, tries = tries + 1, next_at = to_timestamp($4::bigint / 1000.0), error = $5
WHERE alert_id = $1 AND channel_id = $2;

-- tell_again --
-- Deliveries of an alert that were given up get their tries anew.
UPDATE alert_delivery SET state = 'waiting', tries = 0, next_at = to_timestamp($2::bigint / 1000.0)
WHERE alert_id = $1 AND state = 'dead' RETURNING channel_id;

-- alerts --
-- A page of alerts, newest first; $1 of one number, $2 only those with a delivery in a state.
SELECT a.alert_id, a.number_id, a.kind, a.sentence, a.available_micros, a.missing_micros, a.at, n.currency
FROM alert a JOIN number n USING (number_id)
WHERE ($1::text IS NULL OR a.number_id = $1) AND a.alert_id < $3
  AND ($2::text IS NULL OR EXISTS (SELECT FROM alert_delivery d WHERE d.alert_id = a.alert_id AND d.state = $2))
ORDER BY a.alert_id DESC LIMIT $4;

-- deliveries --
SELECT d.alert_id, d.channel_id, c.kind, c.name, d.state, d.tries, d.next_at, d.error
FROM alert_delivery d JOIN alert_channel c USING (channel_id) WHERE d.alert_id = ANY ($1::bigint[]) ORDER BY c.created_at;

-- channels --
SELECT channel_id, kind, name, target, created_at FROM alert_channel WHERE account_id = $1 ORDER BY created_at, channel_id;

-- add_channel --
INSERT INTO alert_channel (channel_id, account_id, kind, name, target, secret, created_at)
VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7::bigint / 1000.0))
RETURNING channel_id, kind, name, target, created_at;

-- drop_channel --
DELETE FROM alert_channel WHERE account_id = $1 AND channel_id = $2 RETURNING channel_id;

-- renewal_rule --
SELECT mode, method, threshold_micros, amount_micros, monthly_cap_micros, proposal, set_at FROM renewal_rule WHERE number_id = $1;

-- put_renewal_rule --
-- Sets a number's rule. It waits for a look that is under way: after it no payment begins by the rule before.
WITH locked AS (
    SELECT number_id FROM number WHERE number_id = $1 FOR NO KEY UPDATE
)
INSERT INTO renewal_rule (number_id, mode, method, threshold_micros, amount_micros, monthly_cap_micros, proposal, set_at)
SELECT number_id, $2, $3, $4, $5, $6, $7::jsonb, to_timestamp($8::bigint / 1000.0) FROM locked
ON CONFLICT (number_id) DO UPDATE
SET mode = excluded.mode, method = excluded.method, threshold_micros = excluded.threshold_micros,
    amount_micros = excluded.amount_micros, monthly_cap_micros = excluded.monthly_cap_micros, proposal = excluded.proposal,
    set_at = excluded.set_at;

-- daily_spend --
-- What a number spent on each of the 28 days before a day of its time zone, the latest first.
SELECT coalesce(sum(u.billed_micros), 0)::bigint AS micros
FROM generate_series(1, 28) AS back LEFT JOIN usage u ON u.number_id = $1 AND u.day = $2::date - back
GROUP BY back ORDER BY back;

-- put_levels --
-- Replaces the levels of a number's list; those that stay keep the side that the balance is on.
WITH asked AS (
    SELECT * FROM unnest($2::text[], $3::bigint[]) AS t (unit, value)
), gone AS (
    DELETE FROM alert_level WHERE number_id = $1 AND unit <> 'low_balance_at'
                              AND (unit, value) NOT IN (SELECT unit, value FROM asked)
)
INSERT INTO alert_level (number_id, unit, value) SELECT $1, unit, value FROM asked ON CONFLICT DO NOTHING;

-- lock_numbers --
-- For a rebuild: no hold is recorded, none ended and no top-up booked for these numbers until the transaction ends.
SELECT number_id FROM number WHERE number_id = ANY ($1::text[]) ORDER BY number_id FOR UPDATE;

-- lock_idle_numbers --
-- The same, of many numbers: those that somebody has locked are left out, so that no two wait for each other.
SELECT number_id FROM number WHERE number_id = ANY ($1::text[]) ORDER BY number_id FOR UPDATE SKIP LOCKED;

-- number_epoch --
SELECT epoch FROM number WHERE number_id = $1;

-- next_epochs --
UPDATE number SET epoch = nextval('wallet_epoch') WHERE number_id = ANY ($1::text[]) RETURNING number_id, epoch;

-- wallet_truths --
-- What wallets must hold: number by number, with the pool of its month and its day. One statement, so one snapshot: balance
-- and open holds belong together. `open`: some user has a window or a conversation open. `..._by`: JSON, by category and by
-- "key:<id>" of keys with limits (farebox/core/limits.py).
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $4::date[]) AS t (number_id, pool, day)
), held AS (
    SELECT number_id, sum(fare_micros) FILTER (WHERE category IS NOT NULL) AS held_micros,
           jsonb_object_agg(coalesce(category, 'key:' || key_id), fare_micros)
               FILTER (WHERE fare_micros > 0 AND coalesce(category, key_id::text) IS NOT NULL) AS held_by
    FROM (SELECT number_id, category, key_id, sum(fare_micros) AS fare_micros FROM hold
          WHERE number_id = ANY ($1::text[]) AND state IN ('reserved', 'accepted')
          GROUP BY GROUPING SETS ((number_id, category), (number_id, key_id))) AS counted
    GROUP BY number_id
), charged AS (
    SELECT number_id, jsonb_object_agg(category, day_micros) FILTER (WHERE day_micros > 0) AS day_by,
           jsonb_object_agg(category, month_micros) FILTER (WHERE month_micros > 0) AS month_by
    FROM (SELECT number_id, category, sum(billed_micros) FILTER (WHERE usage.day = asked.day) AS day_micros,
                 sum(billed_micros) AS month_micros
          FROM asked JOIN (SELECT number_id, day, category, billed_micros FROM usage UNION ALL
                           SELECT number_id, day, 'key:' || key_id, billed_micros FROM key_spend) AS usage USING (number_id)
          WHERE usage.day >= date_trunc('month', asked.day) AND usage.day < date_trunc('month', asked.day) + interval '1 month'
          GROUP BY number_id, category) AS categories
    GROUP BY number_id
), used AS (
    SELECT number_id, pool, count(*) AS units FROM hold
    WHERE number_id = ANY ($1::text[]) AND pool = ANY ($2::text[]) AND (ended_by IS NULL OR ended_by = 'deliver')
    GROUP BY number_id, pool
)
SELECT asked.number_id, asked.pool, asked.day::text AS day, b.balance_micros,
       coalesce(held.held_micros, 0)::bigint AS held_micros, coalesce(used.units, 0) AS units,
       coalesce(held.held_by, '{}') AS held_by, coalesce(charged.day_by, '{}') AS day_by,
       coalesce(charged.month_by, '{}') AS month_by,
       EXISTS (SELECT FROM open_window w WHERE w.number_id = asked.number_id AND w.ends_at_ms > $3)
       OR EXISTS (SELECT FROM hold h WHERE h.number_id = asked.number_id AND h.opens IS NOT NULL
                  AND (h.conversation_until > to_timestamp($3::bigint / 1000.0)
                       OR (h.conversation_until IS NULL AND h.state IN ('reserved', 'accepted')))) AS open
FROM asked JOIN balance b USING (number_id) LEFT JOIN held USING (number_id) LEFT JOIN charged USING (number_id)
     LEFT JOIN used USING (number_id, pool);

-- busy_numbers --
-- The numbers with the most messages on their way: whose wallets are missed first.
SELECT number_id FROM hold WHERE state IN ('reserved', 'accepted') GROUP BY number_id ORDER BY count(*) DESC LIMIT $1;

-- windows_of --
SELECT user_id, kind, ends_at_ms FROM open_window
WHERE number_id = $1 AND user_id = ANY ($2::text[]) AND ends_at_ms > $3;

-- conversations_of --
-- Conversations that are open, or pending because the message that opens them has not arrived yet.
SELECT recipient AS user_id, opens AS category, hold_id, class,
       coalesce((extract(epoch FROM conversation_until) * 1000)::bigint, 0) AS ends_at_ms
FROM hold WHERE number_id = $1 AND recipient = ANY ($2::text[]) AND opens IS NOT NULL
  AND (conversation_until > to_timestamp($3::bigint / 1000.0)
       OR (conversation_until IS NULL AND state IN ('reserved', 'accepted')))
ORDER BY created_at;

-- users_in_windows --
-- A page of the users with an open window, by id.
SELECT DISTINCT user_id FROM open_window WHERE number_id = $1 AND user_id > $2 AND ends_at_ms > $3
ORDER BY user_id LIMIT $4;

-- users_in_conversations --
-- A page of the users with an open or pending conversation, by id.
SELECT DISTINCT recipient AS user_id FROM hold
WHERE number_id = $1 AND recipient > $2 AND opens IS NOT NULL
  AND (conversation_until > to_timestamp($3::bigint / 1000.0)
       OR (conversation_until IS NULL AND state IN ('reserved', 'accepted')))
ORDER BY recipient LIMIT $4;

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

-- books --
-- The sums of a page of numbers after one, in one snapshot, those of dropped months by their totals; $3: of these numbers only, null: of all.
SELECT n.number_id, n.epoch, n.currency, n.funds_rule, b.balance_micros, e.*, h.*, s.billed_micros,
       (SELECT coalesce(sum(amount_micros), 0)::bigint FROM topup t
        WHERE t.number_id = n.number_id AND t.credited_at IS NOT NULL) AS topup_rows_micros,
       (SELECT coalesce(sum(CASE WHEN m.number_id = n.number_id THEN amount_micros ELSE -amount_micros END), 0)::bigint
        FROM movement m WHERE m.number_id = n.number_id OR m.other_number = n.number_id) AS movement_rows_micros
FROM number n JOIN balance b USING (number_id), LATERAL (
    SELECT coalesce(sum(into_micros), 0)::bigint AS entries_micros,
           coalesce(sum(into_micros) FILTER (WHERE kind = 'topup' OR (kind = 'correction' AND NOT of_usage)), 0)::bigint
               AS topups_micros,
           coalesce(-sum(into_micros) FILTER (WHERE kind = 'settle' OR (kind = 'correction' AND of_usage)), 0)::bigint
               AS settled_micros,
           coalesce(-sum(into_micros) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunds_micros,
           coalesce(sum(into_micros) FILTER (WHERE kind = 'adjustment'), 0)::bigint AS adjustments_micros,
           coalesce(sum(into_micros) FILTER (WHERE kind = 'transfer'), 0)::bigint AS transfers_micros,
           coalesce(-sum(into_micros) FILTER (WHERE kind = 'dispute'), 0)::bigint AS disputes_micros
    FROM (SELECT kind, 'usage' IN (from_book, into_book) AS of_usage, CASE WHEN into_book = 'number' THEN amount_micros WHEN from_book = 'number' THEN -amount_micros
                            ELSE 0 END AS into_micros
          FROM (SELECT kind, from_book, into_book, amount_micros FROM entry WHERE entry.number_id = n.number_id
                UNION ALL
                SELECT kind, from_book, into_book, amount_micros FROM entry_total t WHERE t.number_id = n.number_id)
               AS every) AS moves
) AS e, LATERAL (
    SELECT count(*) AS open_holds, coalesce(sum(fare_micros), 0)::bigint AS held_micros,
           min(fare_micros) AS smallest_held_micros
    FROM hold WHERE hold.number_id = n.number_id AND state IN ('reserved', 'accepted')
) AS h, LATERAL (
    SELECT (coalesce(sum(billed_micros), 0)
            + (SELECT coalesce(sum(dropped_micros), 0) FROM usage WHERE usage.number_id = n.number_id))::bigint AS billed_micros
    FROM hold WHERE hold.number_id = n.number_id AND state = 'settled'
) AS s
WHERE n.number_id > $1 AND ($3::text[] IS NULL OR n.number_id = ANY ($3)) ORDER BY n.number_id LIMIT $2;

-- books_holds --
-- Every hold of a few numbers, with the amounts of the entries that charge it.
SELECT h.hold_id, h.number_id, h.state, h.fare_micros, h.billed_micros, h.wamid, h.late, h.pool, h.state_evidence, h.ended_by,
       h.sent_with, h.overdrawn, n.block_at_micros,
       ARRAY(SELECT amount_micros FROM entry e WHERE e.hold_id = h.hold_id ORDER BY entry_id) AS charges_micros
FROM hold h JOIN number n USING (number_id) WHERE h.number_id = ANY ($1::text[]) ORDER BY h.hold_id;

-- books_topups --
-- Every top-up of a few numbers, with the entries that credit it; not those whose month of entries was dropped.
SELECT t.number_id, t.reference, t.amount_micros, count(e.entry_id) AS entries,
       coalesce(sum(e.amount_micros), 0)::bigint AS credited_micros
FROM topup t LEFT JOIN entry e USING (topup_id) WHERE t.number_id = ANY ($1::text[]) AND t.credited_at IS NOT NULL
  AND NOT EXISTS (SELECT FROM dropped_month d WHERE d.month = date_trunc('month', t.credited_at AT TIME ZONE 'UTC'))
GROUP BY t.topup_id ORDER BY t.created_at, t.topup_id;

-- last_reconciliation --
SELECT day, numbers, differing, (extract(epoch FROM ended_at) * 1000)::bigint AS ended_ms FROM reconciliation
ORDER BY day DESC LIMIT 1;

-- put_reconciliation --
INSERT INTO reconciliation (day, numbers, differing, ended_at) VALUES ($1, $2, $3::jsonb, to_timestamp($4::bigint / 1000.0))
ON CONFLICT (day) DO NOTHING;

-- dropped_month --
SELECT month FROM dropped_month WHERE month = $1::date;

-- deliveries_by_day --
-- What a number settled from $2 to $3, by day, market and category as WhatsApp's webhooks name them, and what was sent and is
-- still open. Days begin $4 ms after midnight UTC; $5 and $6 bound the holds. $7: conversations, of which one message is
-- charged. `rate`: Meta's own part of the bills; `unsplit`: bills that are not the fare that was split when it was set aside.
WITH told AS (
    SELECT coalesce(nullif((webhook->>'at_ms')::bigint, 0), (extract(epoch FROM coalesce(ended_at, created_at)) * 1000)::bigint)
               AS at_ms,
           coalesce(drift->'theirs'->>'market', market) AS market,
           coalesce(nullif(webhook->'pricing'->>'category', ''), category) AS category,
           coalesce(webhook->'pricing'->>'type', '') AS type,
           coalesce(billed_micros, 0) AS billed_micros, rate_micros, late, state = 'settled' AS settled,
           billed_micros = fare_micros AND rate_micros IS NOT NULL AS split
    FROM hold WHERE number_id = $1 AND hold_id >= $5 AND hold_id < $6 AND state IN ('settled', 'reserved', 'accepted')
), counted AS (
    SELECT *, settled AND (type = 'regular' OR (type NOT LIKE 'free%' AND billed_micros > 0)) AS paid
    FROM told WHERE at_ms >= $2 AND at_ms < $3
)
SELECT floor((at_ms - $4) / 86400000.0)::bigint AS day_number, market, category,
       count(*) FILTER (WHERE paid) AS paid,
       count(*) FILTER (WHERE settled AND NOT paid AND NOT $7) AS free,
       count(*) FILTER (WHERE NOT settled) AS open,
       count(*) FILTER (WHERE paid AND late) AS late,
       coalesce(sum(rate_micros) FILTER (WHERE paid AND split), 0)::bigint AS rate_micros,
       count(*) FILTER (WHERE billed_micros > 0 AND settled AND NOT split) AS unsplit,
       coalesce(sum(billed_micros) FILTER (WHERE settled AND NOT split), 0)::bigint AS unsplit_micros
FROM counted GROUP BY 1, 2, 3;

-- unknown_deliveries --
-- Deliveries of messages that are not known here, by the day that their webhooks name: those that wait, and the quarantine.
SELECT floor(((payload->>'at_ms')::bigint - $4) / 86400000.0)::bigint AS day_number,
       count(DISTINCT payload->>'wamid') AS messages
FROM (SELECT payload FROM unmatched_status WHERE number_id = $1
      UNION ALL
      SELECT payload FROM quarantine WHERE about = $1 AND kind IN ('status', 'unmatched') AND resolved_at IS NULL) AS waiting
WHERE payload->>'status' IN ('delivered', 'read', 'played')
  AND (payload->>'at_ms')::bigint >= $2 AND (payload->>'at_ms')::bigint < $3
GROUP BY 1;

-- open_holds_of_epoch --
-- Open holds that the wallet of an epoch must list one by one.
SELECT hold_id, fare_micros FROM hold
WHERE number_id = $1 AND epoch = $2 AND state IN ('reserved', 'accepted') AND fare_micros > 0 ORDER BY hold_id DESC LIMIT $3;

-- expected_positions --
-- What wallets must show, without the entries: they are compared by reconcile.
SELECT n.number_id, b.balance_micros,
       coalesce((SELECT sum(fare_micros) FROM hold h
                 WHERE h.number_id = n.number_id AND state IN ('reserved', 'accepted')), 0)::bigint AS held_micros
FROM number n JOIN balance b USING (number_id)
WHERE n.number_id > $1 ORDER BY n.number_id LIMIT $2;

-- usage_against_holds --
-- Where the roll-up differs from what it sums up: empty, or something is wrong. Exact for dropped months too: the roll-up
-- knows what of it was dropped. $1: of one number, null: of all.
SELECT number_id, day, category, market, class,
       coalesce(u.messages, 0) AS usage_messages, coalesce(u.billed_micros, 0) AS usage_micros,
       coalesce(h.messages, 0) + coalesce(u.dropped_messages, 0) AS hold_messages,
       coalesce(h.micros, 0)::bigint + coalesce(u.dropped_micros, 0) AS hold_micros
FROM (SELECT * FROM usage WHERE $1::text IS NULL OR number_id = $1) AS u
FULL JOIN (SELECT number_id, usage_day AS day, category, market, class, count(*) AS messages, sum(billed_micros) AS micros
           FROM hold WHERE state = 'settled' AND ($1::text IS NULL OR number_id = $1)
           GROUP BY number_id, usage_day, category, market, class) AS h
     USING (number_id, day, category, market, class)
WHERE (coalesce(u.messages, 0) - coalesce(u.dropped_messages, 0), coalesce(u.billed_micros, 0) - coalesce(u.dropped_micros, 0))
      <> (coalesce(h.messages, 0), coalesce(h.micros, 0))
ORDER BY number_id, day, category, market, class;

-- repair_books --
SELECT what, count, micros FROM repair_books($1, to_timestamp($2::bigint / 1000.0));

-- claim_history --
SELECT claim_history();

-- make_partitions --
SELECT make_partitions(to_timestamp($1::bigint / 1000.0), $2::int) AS made;

-- months --
-- The months with a partition of their own, oldest first, up to one that is not included.
SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month
FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
WHERE inhparent = 'hold'::regclass AND c.relname ~ '^hold_\d{4}_\d{2}$' AND to_date(right(c.relname, 7), 'YYYY_MM') < $1::date
ORDER BY month;

-- month_counts --
-- What is in a month.
SELECT h.holds, h.open, e.entries
FROM (SELECT count(*) AS holds, count(*) FILTER (WHERE state IN ('reserved', 'accepted')) AS open FROM hold
      WHERE hold_id >= first_hold_id($1::date::timestamp AT TIME ZONE 'UTC')
        AND hold_id < first_hold_id(($1::date + interval '1 month') AT TIME ZONE 'UTC')) AS h,
     (SELECT count(*) AS entries FROM entry
      WHERE at >= $1::date::timestamp AT TIME ZONE 'UTC' AND at < ($1::date + interval '1 month') AT TIME ZONE 'UTC') AS e;

-- freeze_month --
SELECT freeze_month($1::date) AS open;

-- drop_month --
SELECT drop_month($1::date, to_timestamp($2::bigint / 1000.0));

-- balances_by_account --
-- Of the first $1 accounts by id, and of all others together ($2).
SELECT CASE WHEN place <= $1 THEN account_id ELSE $2 END AS account_id, currency, sum(balance_micros)::bigint AS balance_micros
FROM (SELECT account_id, currency, balance_micros, dense_rank() OVER (ORDER BY account_id) AS place
      FROM number JOIN balance USING (number_id)) AS ranked
GROUP BY 1, 2;

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
SELECT e.entry_id, e.number_id, e.kind, e.from_book, e.into_book, e.amount_micros, e.hold_id, e.topup_id, e.at, e.reason,
       h.wamid, h.category, h.market, t.reference
FROM entry e LEFT JOIN hold h USING (hold_id) LEFT JOIN topup t USING (topup_id)
WHERE e.number_id = $1 AND e.entry_id < $2 ORDER BY e.entry_id DESC LIMIT $3;

-- put_unmatched --
INSERT INTO unmatched_status (number_id, wamid, status, payload, created_at)
VALUES ($1, $2, $3, $4::jsonb, to_timestamp($5::bigint / 1000.0)) ON CONFLICT DO NOTHING;

-- take_unmatched --
-- Statuses whose hold is known by now, by wamid or by reference, and those that have waited since $2, oldest first.
SELECT u.number_id, u.wamid, u.status, u.payload, u.created_at <= to_timestamp($2::bigint / 1000.0) AS waited
FROM unmatched_status u
WHERE (u.created_at <= to_timestamp($2::bigint / 1000.0)
       OR EXISTS (SELECT FROM hold h WHERE h.wamid = u.wamid)
       OR EXISTS (SELECT FROM hold h WHERE h.hold_id = CASE
               WHEN u.payload ->> 'reference' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
               THEN (u.payload ->> 'reference')::uuid END))
ORDER BY u.created_at LIMIT $1;

-- drop_unmatched --
DELETE FROM unmatched_status WHERE number_id = $1 AND wamid = $2 AND status = $3;

-- adopt_hold --
-- Records a message that came through no send that the ledger knows, for its webhook to settle: with nothing set aside,
-- so that no wallet was taken from. Once for each wamid ($3), whoever asks how often. Its reference ($16) becomes the
-- hold id if it can be one of ours that is not recorded yet: its send, accounted later, then finds it here.
WITH current AS (
    SELECT number_id, epoch FROM number WHERE number_id = $2 FOR KEY SHARE
), claimed AS (
    INSERT INTO message_claim (number_id, wamid, hold_id, claimed_at)
    SELECT number_id, $3,
           CASE WHEN $16::uuid IS NULL OR EXISTS (SELECT FROM hold WHERE hold_id = $16) THEN $1 ELSE $16 END,
           to_timestamp($13::bigint / 1000.0)
    FROM current WHERE NOT EXISTS (SELECT FROM hold WHERE number_id = $2 AND wamid = $3)
    ON CONFLICT DO NOTHING
    RETURNING hold_id
)
INSERT INTO hold (hold_id, number_id, epoch, state, class, fare_micros, regime, category, market, why, rate_source,
                  state_evidence, recipient, wamid, client_reference, created_at, expires_at,
                  rate_micros, markup_micros, tax_micros)
SELECT hold_id, number_id, epoch, $4, $5, 0, $6, $7, $8, $9, $10, '', $11, $3, nullif($12, ''),
       to_timestamp($14::bigint / 1000.0), to_timestamp($15::bigint / 1000.0), 0, 0, 0
FROM claimed, current
ON CONFLICT DO NOTHING
RETURNING hold_id;

-- claim_message --
-- Ties a message that left during an outage to its hold; returns whose it is, which may be another's by now.
WITH claimed AS (
    INSERT INTO message_claim (number_id, wamid, hold_id, claimed_at)
    SELECT $1, $2, $3, to_timestamp($4::bigint / 1000.0)
    WHERE NOT EXISTS (SELECT FROM hold WHERE number_id = $1 AND wamid = $2 AND hold_id <> $3)
    ON CONFLICT DO NOTHING
    RETURNING hold_id
)
SELECT hold_id FROM claimed
UNION ALL SELECT hold_id FROM message_claim WHERE number_id = $1 AND wamid = $2
UNION ALL SELECT hold_id FROM hold WHERE number_id = $1 AND wamid = $2
LIMIT 1;

-- put_quarantine --
-- Keeps a piece of news; one that is there already is kept once, and is open again. Nothing where $7 of its kind are open.
INSERT INTO quarantine (about, kind, reason, payload, digest, created_at)
SELECT $1, $2, $3, $4::jsonb, $5, to_timestamp($6::bigint / 1000.0)
WHERE (SELECT count(*) FROM (SELECT FROM quarantine WHERE kind = $2 AND resolved_at IS NULL LIMIT $7) AS open) < $7
ON CONFLICT (digest) DO UPDATE SET reason = excluded.reason, resolved_at = NULL
RETURNING quarantine_id;

-- quarantine_row --
SELECT quarantine_id, about, kind, payload FROM quarantine WHERE quarantine_id = $1 AND resolved_at IS NULL;

-- quarantine_open --
SELECT quarantine_id, about, kind, payload FROM quarantine
WHERE resolved_at IS NULL AND quarantine_id > $1 ORDER BY quarantine_id LIMIT $2;

-- quarantine --
-- A page of the quarantine, newest first; $1 and $2 choose one number or kind, $3 what is resolved.
SELECT quarantine_id, about, kind, reason, payload, tries, created_at, resolved_at FROM quarantine
WHERE ($1::text IS NULL OR about = $1) AND ($2::text IS NULL OR kind = $2) AND (resolved_at IS NOT NULL) = $3
  AND quarantine_id < $4
ORDER BY quarantine_id DESC LIMIT $5;

-- resolve_quarantine --
UPDATE quarantine SET resolved_at = to_timestamp($2::bigint / 1000.0) WHERE quarantine_id = $1 AND resolved_at IS NULL;

-- keep_quarantine --
UPDATE quarantine SET reason = $2, tries = tries + 1 WHERE quarantine_id = $1;

-- forget_quarantine --
DELETE FROM quarantine WHERE resolved_at < to_timestamp($1::bigint / 1000.0);

-- now --
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint + offset_ms AS now_ms, offset_ms FROM clock;

-- set_clock --
UPDATE clock SET offset_ms = $1;

-- all_numbers --
-- `watch_micros`: the highest balance below which somebody must look at a number, because a rule or a level hangs on it.
SELECT n.*, a.markup_ppm, a.markup_fixed_micros, a.tax_ppm, w.watch_micros
FROM number n JOIN account a USING (account_id) LEFT JOIN (
    SELECT number_id, max(micros) AS watch_micros FROM (
        SELECT number_id, threshold_micros AS micros FROM renewal_rule WHERE mode <> 'off'
        UNION ALL
        SELECT number_id, value FROM alert_level WHERE unit <> 'days') AS levels
    GROUP BY number_id) AS w USING (number_id);

-- all_limits --
SELECT number_id, period, category, limit_micros FROM spend_limit ORDER BY number_id, period, category;

-- spent --
-- What counts against a number's limits on a day of its time zone ($2): set aside, charged that day and that month.
SELECT category, coalesce(h.held_micros, 0) AS held_micros, coalesce(u.day_micros, 0) AS day_micros,
       coalesce(u.month_micros, 0) AS month_micros
FROM (SELECT category, sum(fare_micros)::bigint AS held_micros FROM hold
      WHERE number_id = $1 AND state IN ('reserved', 'accepted') GROUP BY category) AS h
FULL JOIN (SELECT category, sum(billed_micros) FILTER (WHERE day = $2::date)::bigint AS day_micros,
                  sum(billed_micros)::bigint AS month_micros
           FROM usage WHERE number_id = $1 AND day >= date_trunc('month', $2::date)
                        AND day < date_trunc('month', $2::date) + interval '1 month' GROUP BY category) AS u USING (category);

-- put_limits --
-- Replaces a number's spend limits; those that stay as they are are not written.
WITH asked AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[]) AS t (period, category, limit_micros)
), gone AS (
    DELETE FROM spend_limit WHERE number_id = $1 AND (period, category) NOT IN (SELECT period, category FROM asked)
)
INSERT INTO spend_limit (number_id, period, category, limit_micros) SELECT $1, period, category, limit_micros FROM asked
ON CONFLICT (number_id, period, category) DO UPDATE SET limit_micros = excluded.limit_micros
WHERE spend_limit.limit_micros <> excluded.limit_micros;

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

-- raise_throughput --
-- Numbers of an account that may send faster now, by their display phone numbers. One without a throughput is not paced.
UPDATE number SET throughput = per_second
FROM unnest($2::text[], $3::int[]) AS t (digits, per_second)
WHERE waba_id = $1 AND regexp_replace(display_phone_number, '\D', '', 'g') = digits AND throughput < per_second
RETURNING number_id;

-- put_tiers --
INSERT INTO volume_tier (waba_id, region, category, month, lower, reached_at)
SELECT $1, region, category, month, lower, to_timestamp(reached_ms / 1000.0)
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
    AS t (region, category, month, lower, reached_ms)
ON CONFLICT (waba_id, region, category, month, lower) DO UPDATE SET reached_at = excluded.reached_at
WHERE volume_tier.reached_at > excluded.reached_at
RETURNING lower;

-- active_keys --
SELECT key_id, name, digest, numbers, categories, per_minute, day_limit_micros, month_limit_micros, previous_digest,
       (extract(epoch FROM previous_until) * 1000)::bigint AS previous_until_ms
FROM api_key WHERE revoked_at IS NULL;

-- note_key_use --
INSERT INTO api_key_use (key_id, last_used_at)
SELECT key_id, to_timestamp(at_ms / 1000.0) FROM unnest($1::uuid[], $2::bigint[]) AS used (key_id, at_ms)
ORDER BY key_id
ON CONFLICT (key_id) DO UPDATE SET last_used_at = greatest(api_key_use.last_used_at, excluded.last_used_at);

-- stored_secrets --
SELECT number_id, upstream_token, app_secret, webhook_secret FROM number
WHERE coalesce(upstream_token, app_secret, webhook_secret) IS NOT NULL ORDER BY number_id;

-- reseal --
-- Replaces the stored secrets of a number, if they are still these.
UPDATE number SET upstream_token = $5, app_secret = $6, webhook_secret = $7
WHERE number_id = $1 AND (upstream_token, app_secret, webhook_secret) IS NOT DISTINCT FROM ($2, $3, $4)
RETURNING number_id;

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

-- Idempotency keys (0009_idempotency.sql).

-- claim_key --
-- Claims a key for one attempt. Free are: a key that is new, one that is forgotten ($7), and one whose attempt has done
-- nothing and must be dead by now. Returns nothing where the key is not free.
INSERT INTO idempotency (scope, key_digest, body_digest, claim_id, state, lease_ends_at, created_at)
VALUES ($1, $2, $3, $4, 'claimed', to_timestamp($6::bigint / 1000.0), to_timestamp($5::bigint / 1000.0))
ON CONFLICT (scope, key_digest) DO UPDATE
SET body_digest = excluded.body_digest, claim_id = excluded.claim_id, state = 'claimed', hold_id = NULL,
    lease_ends_at = excluded.lease_ends_at, status = NULL, headers = NULL, body = NULL, created_at = excluded.created_at
WHERE idempotency.created_at <= to_timestamp($7::bigint / 1000.0)
   OR (idempotency.state = 'claimed' AND idempotency.lease_ends_at <= to_timestamp($5::bigint / 1000.0)
       AND idempotency.body_digest = excluded.body_digest)
RETURNING claim_id;

-- key_in_use --
SELECT body_digest = $3 AS same_body, state, hold_id, lease_ends_at <= to_timestamp($4::bigint / 1000.0) AS lease_over,
       status, headers, body
FROM idempotency WHERE scope = $1 AND key_digest = $2;

-- claim_stands --
SELECT claim_id FROM idempotency WHERE claim_id = $1;

-- claim_leaves --
-- Bytes leave without a hold: a number that is not metered, a free message while the wallet is away. Or on one ($2) that is
-- recorded when the wallet is back.
UPDATE idempotency SET state = 'sent', hold_id = $2 WHERE claim_id = $1 RETURNING claim_id;

-- keep_answer --
UPDATE idempotency SET state = 'answered', status = $2, headers = $3, body = $4 WHERE claim_id = $1;

-- release_claim --
DELETE FROM idempotency WHERE claim_id = $1;

-- forget_keys --
DELETE FROM idempotency WHERE claim_id = ANY (ARRAY(
    SELECT claim_id FROM idempotency WHERE created_at <= to_timestamp($1::bigint / 1000.0) LIMIT $2));

-- Admin reads and writes.

-- account --
SELECT * FROM account WHERE account_id = $1;

-- put_account --
-- Creates an account, or changes the columns that $7 names. `created` looks at what was there before the statement.
INSERT INTO account (account_id, name, currency, country, tax_id, created_at, markup_ppm, markup_fixed_micros, tax_ppm,
                     legal_name, address, billing_email, tax_id_checked_at)
VALUES ($1, $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0), $8, $9, $10, $11, $12::text[], $13,
        to_timestamp($14::bigint / 1000.0))
ON CONFLICT (account_id) DO UPDATE
SET name = CASE WHEN 'name' = ANY ($7::text[]) THEN excluded.name ELSE account.name END,
    currency = CASE WHEN 'currency' = ANY ($7::text[]) THEN excluded.currency ELSE account.currency END,
    country = CASE WHEN 'country' = ANY ($7::text[]) THEN excluded.country ELSE account.country END,
    tax_id = CASE WHEN 'tax_id' = ANY ($7::text[]) THEN excluded.tax_id ELSE account.tax_id END,
    tax_id_checked_at = CASE WHEN 'tax_id' = ANY ($7::text[]) THEN excluded.tax_id_checked_at
                             ELSE account.tax_id_checked_at END,
    legal_name = CASE WHEN 'legal_name' = ANY ($7::text[]) THEN excluded.legal_name ELSE account.legal_name END,
    address = CASE WHEN 'address' = ANY ($7::text[]) THEN excluded.address ELSE account.address END,
    billing_email = CASE WHEN 'billing_email' = ANY ($7::text[]) THEN excluded.billing_email ELSE account.billing_email END,
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
       app_url, mode, funds_rule, block_at_micros, low_balance_at_micros, auth_international,
       throughput, created_at, closed_at
FROM number WHERE number_id = $1;

-- numbers_after --
SELECT number_id, account_id, epoch, display_phone_number, waba_id, timezone, currency, dialect, regime,
       upstream_token IS NOT NULL AS upstream_token_set, app_secret IS NOT NULL AS app_secret_set,
       webhook_secret IS NOT NULL AS webhook_secret_set,
       app_url, mode, funds_rule, block_at_micros, low_balance_at_micros, auth_international,
       throughput, created_at, closed_at
FROM number WHERE number_id > $1 ORDER BY number_id LIMIT $2;

-- put_number --
-- Creates a number with its balance, or changes the columns that $18 names. Returns nothing where the currency would
-- change although amounts in the old one exist.
WITH written AS (
    INSERT INTO number (number_id, account_id, display_phone_number, waba_id, timezone, currency, dialect, regime,
                        upstream_token, app_secret, app_url, mode, funds_rule, block_at_micros, low_balance_at_micros,
                        webhook_secret, created_at, auth_international, throughput)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
            to_timestamp($17::bigint / 1000.0), $19::boolean, $20::int)
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
                                  ELSE number.auth_international END,
        throughput = CASE WHEN 'throughput' = ANY ($18::text[]) THEN excluded.throughput ELSE number.throughput END
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
SELECT k.key_id, name, numbers, categories, per_minute, day_limit_micros, month_limit_micros, created_at, revoked_at,
       previous_until, last_used_at
FROM api_key k LEFT JOIN api_key_use USING (key_id)
WHERE $1::uuid IS NULL OR (created_at, k.key_id) > (SELECT created_at, key_id FROM api_key WHERE key_id = $1)
ORDER BY created_at, k.key_id LIMIT $2;

-- add_key --
INSERT INTO api_key (key_id, name, digest, numbers, created_at, categories, per_minute, day_limit_micros,
                     month_limit_micros)
VALUES ($1, $2, $3, $4, to_timestamp($5::bigint / 1000.0), $6, $7, $8, $9)
RETURNING key_id, name, numbers, categories, per_minute, day_limit_micros, month_limit_micros, created_at, revoked_at,
          previous_until,
          NULL::timestamptz AS last_used_at;

-- rotate_key --
-- A key gets a new digest; the one before works until $3. Of a revoked key nothing is changed or returned.
UPDATE api_key SET previous_digest = digest, previous_until = to_timestamp($3::bigint / 1000.0), digest = $2
WHERE key_id = $1 AND revoked_at IS NULL
RETURNING key_id, name, numbers, categories, per_minute, day_limit_micros, month_limit_micros, created_at, revoked_at,
          previous_until,
          (SELECT last_used_at FROM api_key_use u WHERE u.key_id = api_key.key_id) AS last_used_at;

-- limit_key --
-- What a key may spend from now on; null: as much as it likes. Of a revoked key nothing is changed or returned.
UPDATE api_key SET day_limit_micros = $2, month_limit_micros = $3 WHERE key_id = $1 AND revoked_at IS NULL RETURNING key_id;

-- key_spent --
-- What counts against a key's limits: set aside, charged that day and that month, for numbers $2 on their days $3.
SELECT asked.number_id,
       (SELECT coalesce(sum(fare_micros), 0)::bigint FROM hold h
        WHERE h.number_id = asked.number_id AND h.state IN ('reserved', 'accepted') AND h.key_id = $1) AS held_micros,
       coalesce(sum(billed_micros) FILTER (WHERE s.day = asked.day), 0)::bigint AS day_micros,
       coalesce(sum(billed_micros), 0)::bigint AS month_micros
FROM unnest($2::text[], $3::date[]) AS asked (number_id, day) LEFT JOIN key_spend s
     ON s.number_id = asked.number_id AND s.key_id = $1 AND s.day >= date_trunc('month', asked.day)
        AND s.day < date_trunc('month', asked.day) + interval '1 month'
GROUP BY asked.number_id, asked.day ORDER BY asked.number_id;

-- revoke_key --
-- The first revocation counts; a repeated one changes nothing, and announces nothing that matters.
UPDATE api_key SET revoked_at = coalesce(revoked_at, to_timestamp($2::bigint / 1000.0)) WHERE key_id = $1
RETURNING key_id;

-- The page (farebox/web): who may sign in, who is signed in.

-- put_user --
-- Makes a user, or gives one another password and role; then whoever was signed in under that name is so no more.
WITH written AS (
    INSERT INTO admin_user (user_name, password_hash, role) VALUES ($1, $2, $3)
    ON CONFLICT (user_name) DO UPDATE SET password_hash = excluded.password_hash, role = excluded.role, failures = 0
    RETURNING user_name
), ended AS (
    DELETE FROM admin_session WHERE user_name IN (SELECT user_name FROM written)
)
SELECT user_name, NOT EXISTS (SELECT FROM admin_user WHERE user_name = $1) AS created FROM written;

-- user_to_check --
SELECT password_hash, failures >= $2 AND failed_at > now() - make_interval(secs => $3) AS locked
FROM admin_user WHERE user_name = $1;

-- user_checked --
UPDATE admin_user SET failures = CASE WHEN $2 THEN 0 ELSE failures + 1 END,
                      failed_at = CASE WHEN $2 THEN failed_at ELSE now() END
WHERE user_name = $1;

-- drop_user --
DELETE FROM admin_user WHERE user_name = $1 RETURNING user_name;

-- users --
SELECT user_name, role, created_at,
       (SELECT max(seen_at) FROM admin_session s WHERE s.user_name = u.user_name) AS seen_at
FROM admin_user u ORDER BY user_name;

-- open_session --
-- Signs in, and forgets the sessions that are over.
WITH over AS (
    DELETE FROM admin_session WHERE created_at < now() - make_interval(secs => $3)
)
INSERT INTO admin_session (digest, user_name) VALUES ($1, $2);

-- session --
WITH seen AS (
    UPDATE admin_session SET seen_at = now()
    WHERE digest = $1 AND seen_at BETWEEN now() - make_interval(secs => $2) AND now() - make_interval(secs => $4)
)
SELECT s.user_name, u.role FROM admin_session s LEFT JOIN admin_user u USING (user_name)
WHERE s.digest = $1 AND s.seen_at > now() - make_interval(secs => $2) AND s.created_at > now() - make_interval(secs => $3);

-- close_session --
DELETE FROM admin_session WHERE digest = $1;

-- accounts --
-- All accounts, by name. `numbers`: how many it has.
SELECT a.account_id, a.name, a.currency, (SELECT count(*) FROM number n WHERE n.account_id = a.account_id) AS numbers
FROM account a ORDER BY a.name, a.account_id LIMIT $1;

-- numbers_of_account --
SELECT number_id, account_id, epoch, display_phone_number, waba_id, timezone, currency, dialect, regime,
       upstream_token IS NOT NULL AS upstream_token_set, app_secret IS NOT NULL AS app_secret_set,
       webhook_secret IS NOT NULL AS webhook_secret_set,
       app_url, mode, funds_rule, block_at_micros, low_balance_at_micros, auth_international,
       throughput, created_at, closed_at
FROM number WHERE account_id = $1 ORDER BY number_id LIMIT $2;

-- usage_by --
-- The roll-up of some numbers by month or day ($4), split by currency and class; nulls: all classes, categories, markets.
-- Where neither category nor market is asked for, the totals of days say it in a fraction of the rows.
WITH days AS (
    SELECT number_id, day, class, messages, conversations, billed_micros
    FROM usage_total
    WHERE $6::text IS NULL AND $7::text IS NULL
      AND number_id = ANY ($1::text[]) AND day >= $2 AND day < $3 AND ($5::text IS NULL OR class = $5)
    UNION ALL
    SELECT number_id, day, class, sum(messages), sum(conversations), sum(billed_micros)
    FROM usage
    WHERE ($6::text IS NOT NULL OR $7::text IS NOT NULL)
      AND number_id = ANY ($1::text[]) AND day >= $2 AND day < $3 AND ($5::text IS NULL OR class = $5)
      AND ($6::text IS NULL OR category = $6) AND ($7::text IS NULL OR market = $7)
    GROUP BY number_id, day, class
)
SELECT n.currency, date_trunc($4::text, day::timestamp)::date AS starts, class, sum(messages)::bigint AS messages,
       sum(conversations)::bigint AS conversations, sum(billed_micros)::bigint AS billed_micros
FROM days JOIN number n USING (number_id)
GROUP BY n.currency, starts, class ORDER BY n.currency, starts, class;

-- held_by --
-- What is set aside for messages whose fate is open, by when they were sent: the periods begin at the times $2.
SELECT width_bucket(created_at, $2::timestamptz[]) AS period, class, count(*) AS messages,
       sum(fare_micros)::bigint AS held_micros
FROM hold WHERE number_id = ANY ($1::text[]) AND state IN ('reserved', 'accepted')
  AND ($3::text IS NULL OR class = $3) AND ($4::text IS NULL OR category = $4) AND ($5::text IS NULL OR market = $5)
GROUP BY period, class;

-- usage_kinds --
-- The categories and markets that some numbers have used since a day.
SELECT DISTINCT category, market FROM usage WHERE number_id = ANY ($1::text[]) AND day >= $2 ORDER BY category, market;

-- pool_used --
-- Free units of a month's pool that a number has used; as in wallet_truths.
SELECT count(*) AS units FROM hold
WHERE number_id = $1 AND pool = $2 AND (ended_by IS NULL OR ended_by = 'deliver');

-- search_messages --
-- Messages of some numbers, newest first, by the last digits of the recipient ($2) or the client's reference ($3).
SELECT hold_id, number_id, created_at, state, class, category, market, fare_micros, billed_micros, recipient, wamid
FROM hold
WHERE number_id = ANY ($1::text[]) AND hold_id < $4
  AND (($2::text IS NOT NULL AND right(recipient, 4) = right($2, 4) AND recipient LIKE '%' || $2)
       OR ($3::text IS NOT NULL AND client_reference = $3))
ORDER BY hold_id DESC LIMIT $5;

-- latest_messages --
SELECT hold_id, number_id, created_at, state, class, category, market, fare_micros, billed_micros, recipient, wamid
FROM hold WHERE number_id = ANY ($1::text[]) ORDER BY hold_id DESC LIMIT $2;

-- moved_before --
-- What all that is no charge had put into a number's balance before a time: entries, and the totals of dropped months.
-- Corrections of charges count as the charges that they are, in the roll-up.
SELECT (coalesce((SELECT sum(CASE WHEN into_book = 'number' THEN amount_micros ELSE -amount_micros END) FROM entry
                  WHERE number_id = $1 AND at < $2 AND kind <> 'settle' AND 'number' IN (from_book, into_book)
                    AND NOT (kind = 'correction' AND hold_id IS NOT NULL)), 0)
        + coalesce((SELECT sum(CASE WHEN into_book = 'number' THEN amount_micros ELSE -amount_micros END) FROM entry_total
                    WHERE number_id = $1 AND month < ($2 AT TIME ZONE 'UTC')::date AND kind <> 'settle'
                      AND 'number' IN (from_book, into_book)), 0))::bigint AS moved_micros,
       coalesce((SELECT sum(billed_micros) FROM usage_total WHERE number_id = $1 AND day < $3), 0)::bigint AS charged_micros;

-- moved --
-- What was no charge in a span of time, one by one, oldest first.
SELECT e.entry_id, e.kind, e.from_book, e.into_book, e.amount_micros, e.at, e.reason, t.reference, t.method, t.topup_id
FROM entry e LEFT JOIN topup t USING (topup_id)
WHERE e.number_id = $1 AND e.at >= $2 AND e.at < $3 AND e.kind <> 'settle' AND 'number' IN (e.from_book, e.into_book)
  AND NOT (e.kind = 'correction' AND e.hold_id IS NOT NULL)
ORDER BY e.at, e.entry_id LIMIT $4;

-- fees_paid --
-- Transaction fees of the top-ups that were credited in a span of time: paid beside the balance, not from it.
SELECT coalesce(sum(fee_micros), 0)::bigint AS fee_micros, coalesce(sum(tax_micros), 0)::bigint AS tax_micros
FROM topup WHERE number_id = $1 AND credited_at >= $2 AND credited_at < $3;

-- entries_of_day --
-- A page of a day's entries, oldest first, each with what the day had moved by then. Only those of the page are joined.
WITH moves AS (
    SELECT entry_id, kind, into_book, amount_micros, at, hold_id, topup_id, reason,
           sum(CASE WHEN into_book = 'number' THEN amount_micros ELSE -amount_micros END)
               OVER (ORDER BY at, entry_id)::bigint AS moved_micros
    FROM entry WHERE number_id = $1 AND at >= $2 AND at < $3 AND 'number' IN (from_book, into_book)
    ORDER BY at, entry_id OFFSET $4 LIMIT $5
)
SELECT moves.*, h.category, h.market, h.wamid, t.reference
FROM moves LEFT JOIN hold h USING (hold_id) LEFT JOIN topup t ON t.topup_id = moves.topup_id
ORDER BY at, entry_id;

-- spent_by_day --
-- What some numbers were charged, day by day in their own time zones; days without a charge are not there.
SELECT day, sum(billed_micros)::bigint AS billed_micros, sum(messages)::bigint AS messages
FROM usage_total WHERE number_id = ANY ($1::text[]) AND day >= $2 AND day < $3 GROUP BY day ORDER BY day;

-- act_as --
-- Names who acts, why and for which request, to the audit log's triggers, until the transaction ends.
SELECT set_config('farebox.who', $1, true), set_config('farebox.why', $2, true), set_config('farebox.request_id', $3, true);

-- note --
-- A deed that no trigger sees.
SELECT note_audit($1, $2, $3, $4::jsonb, $5::jsonb);

-- audit --
-- A page of the audit log, newest first; $1 to $3 choose one kind, subject or actor, null: all.
SELECT audit_id, at, who, what, kind, subject, before, after, why, request_id FROM audit
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR subject = $2) AND ($3::text IS NULL OR who = $3)
  AND audit_id < $4
ORDER BY audit_id DESC LIMIT $5;

-- applied_migrations --
SELECT number FROM migration;
