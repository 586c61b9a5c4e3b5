-- How much a number may spend in a day or a month of its time zone, in all or on one category (farebox/core/limits.py).

CREATE TABLE spend_limit (
    number_id     text NOT NULL REFERENCES number,
    period        text NOT NULL CHECK (period IN ('day', 'month')),
    category      text NOT NULL CHECK (length(category) <= 64),  -- '': of all categories together
    limit_micros  bigint NOT NULL CHECK (limit_micros BETWEEN 0 AND 9007199254740991),  -- below 2^53: exact in Lua
    PRIMARY KEY (number_id, period, category)
);
CREATE TRIGGER spend_limit_change AFTER INSERT OR DELETE OR UPDATE ON spend_limit
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
