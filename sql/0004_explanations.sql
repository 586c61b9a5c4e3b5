-- What a fare is made of, and where WhatsApp saw a delivery otherwise than we did.

ALTER TABLE hold
    ADD COLUMN rate_micros   bigint,  -- Meta's own rate; null: recorded before it was kept
    ADD COLUMN markup_micros bigint,  -- what the account adds
    ADD COLUMN tax_micros    bigint,
    ADD COLUMN drift         jsonb;   -- both views and what differs (farebox/core/drift.py); null: none
-- Hold ids sort by time, so the list of drifts, newest first, needs no other order.
CREATE INDEX hold_drift ON hold (hold_id) WHERE drift IS NOT NULL;
