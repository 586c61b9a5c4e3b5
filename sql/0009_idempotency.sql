-- Idempotency keys: a request that names one is done once, and a repetition gets the first answer.

-- A key belongs to its scope: a number and the application that sends, or a path of the admin API. Its life:
--     claimed   by one attempt (`claim_id`), which has done nothing yet: after `lease_ends_at` the next one takes it over
--     sent      bytes may have left, on the hold `hold_id` if they have one: never taken over, never sent again
--     answered  the answer is kept
-- An attempt that comes to nothing deletes its row. What record_holds marks as sent is decided by the row's lock: of an
-- attempt that wakes up late and the one that takes its claim over, exactly one finds the row as it expects it.
CREATE TABLE idempotency (
    scope          text NOT NULL,
    key_digest     bytea NOT NULL,   -- SHA-256: a client may put anything into a key
    body_digest    bytea NOT NULL,   -- SHA-256 of what must be the same in a repetition
    claim_id       uuid NOT NULL UNIQUE,
    state          text NOT NULL CHECK (state IN ('claimed', 'sent', 'answered')),
    hold_id        uuid,             -- of a group: the hold that speaks for the send
    lease_ends_at  timestamptz NOT NULL,
    status         int,
    headers        text,             -- JSON list of pairs
    body           bytea,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (scope, key_digest),
    CHECK ((state = 'answered') = (status IS NOT NULL AND headers IS NOT NULL AND body IS NOT NULL))
);
CREATE INDEX idempotency_age ON idempotency (created_at);
