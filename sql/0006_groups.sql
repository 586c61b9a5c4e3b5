-- A group send has a hold for each member: all of them name the one that speaks for the send.

ALTER TABLE hold ADD COLUMN sent_with uuid;
CREATE INDEX hold_sent_with ON hold (sent_with) WHERE sent_with IS NOT NULL;
