-- A number's low_balance_at is a level like those of its list: it raises an alert when it is crossed. Here so that it follows
-- whoever sets the number.
ALTER TABLE alert_level DROP CONSTRAINT alert_level_unit_check;
ALTER TABLE alert_level ADD CONSTRAINT alert_level_unit_check CHECK (unit IN ('amount', 'days', 'low_balance_at'));

CREATE FUNCTION follow_low_balance_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM alert_level WHERE number_id = NEW.number_id AND unit = 'low_balance_at'
                              AND value IS DISTINCT FROM NEW.low_balance_at_micros;
    IF NEW.low_balance_at_micros IS NOT NULL THEN
        INSERT INTO alert_level (number_id, unit, value) VALUES (NEW.number_id, 'low_balance_at', NEW.low_balance_at_micros)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER number_low_balance_at AFTER INSERT OR UPDATE OF low_balance_at_micros ON number
    FOR EACH ROW EXECUTE FUNCTION follow_low_balance_at();

INSERT INTO alert_level (number_id, unit, value)
SELECT number_id, 'low_balance_at', low_balance_at_micros FROM number WHERE low_balance_at_micros BETWEEN 0 AND 9007199254740991;
