-- Comparing the books once a day: remembered, so that a restart does not repeat it, and so that every worker can show what
-- was found. `differing`: kind of difference (farebox/core/difference.py) -> numbers that have one.

CREATE TABLE reconciliation (
    day        date PRIMARY KEY,  -- in UTC
    numbers    bigint NOT NULL CHECK (numbers >= 0),
    differing  jsonb NOT NULL,
    ended_at   timestamptz NOT NULL
);
