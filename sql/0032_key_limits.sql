-- How much one key may spend in a day or a month of a number's time zone, on each of its numbers (farebox/core/limits.py).
ALTER TABLE api_key
    ADD COLUMN day_limit_micros    bigint CHECK (day_limit_micros BETWEEN 0 AND 9007199254740991),    -- below 2^53: exact in Lua
    ADD COLUMN month_limit_micros  bigint CHECK (month_limit_micros BETWEEN 0 AND 9007199254740991);

-- The key that sent a message, where it had a limit then: of other keys nothing is counted, and nothing is written.
ALTER TABLE hold ADD COLUMN key_id uuid;

-- What was charged for messages of such keys, by the number's own days. Written by the statement that settles them.
CREATE TABLE key_spend (
    key_id         uuid NOT NULL REFERENCES api_key,
    number_id      text NOT NULL REFERENCES number,
    day            date NOT NULL,
    billed_micros  bigint NOT NULL CHECK (billed_micros >= 0),
    PRIMARY KEY (number_id, day, key_id)
);
