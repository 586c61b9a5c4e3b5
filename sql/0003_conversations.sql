-- Conversation-based pricing: which hold opened a conversation, which rides one, and how long it is open.

ALTER TABLE hold
    ADD COLUMN opens              text,         -- the conversation that this message opens, by category
    ADD COLUMN rides              uuid,         -- the hold whose conversation this message is part of
    ADD COLUMN conversation_until timestamptz,  -- set at its delivery: from then on it is open
    ADD COLUMN overdrawn          boolean NOT NULL DEFAULT false;  -- shadow mode: it would have been refused
CREATE INDEX hold_rides ON hold (rides) WHERE rides IS NOT NULL;
CREATE INDEX hold_conversation ON hold (number_id, conversation_until) WHERE opens IS NOT NULL;

-- A conversation of WhatsApp is charged once, whichever of its messages is delivered first.
CREATE TABLE conversation (
    number_id        text NOT NULL REFERENCES number,
    conversation_id  text NOT NULL,
    hold_id          uuid NOT NULL REFERENCES hold,
    PRIMARY KEY (number_id, conversation_id)
);

ALTER TABLE number DROP CONSTRAINT number_mode_check;
ALTER TABLE number ADD CONSTRAINT number_mode_check CHECK (mode IN ('enforce', 'shadow', 'off'));

-- What an account adds to Meta's rates (farebox/core/markup.py). Parts per million: 4 % is 40,000.
ALTER TABLE account
    ADD COLUMN markup_ppm          bigint NOT NULL DEFAULT 0 CHECK (markup_ppm BETWEEN 0 AND 100000000),
    ADD COLUMN markup_fixed_micros bigint NOT NULL DEFAULT 0 CHECK (markup_fixed_micros BETWEEN 0 AND 1000000000),
    ADD COLUMN tax_ppm             bigint NOT NULL DEFAULT 0 CHECK (tax_ppm BETWEEN 0 AND 1000000);
CREATE TRIGGER account_change AFTER INSERT OR DELETE OR UPDATE ON account
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
