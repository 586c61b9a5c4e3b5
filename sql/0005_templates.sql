-- Templates: what is announced about one, its bid, and the history of what changed.

ALTER TABLE template
    ADD COLUMN coming_category   text,         -- announced, not in force yet
    ADD COLUMN coming_at         timestamptz,  -- when it is due; null: not said
    ADD COLUMN bid_amount        bigint,       -- max price for 1,000 deliveries in the currency's smallest unit
    ADD COLUMN category_said_at  timestamptz,  -- of the webhook that spoke last, so that an older one changes nothing
    ADD COLUMN status_said_at    timestamptz;

CREATE TABLE template_change (
    change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    waba_id     text NOT NULL,
    name        text NOT NULL,
    language    text NOT NULL,
    what        text NOT NULL CHECK (what IN ('category', 'status', 'bid')),
    old         text,
    new         text,
    state       text NOT NULL CHECK (state IN ('impending', 'done')),
    due_at      timestamptz,  -- of an impending change
    source      text NOT NULL CHECK (source IN ('webhook', 'sync')),
    at          timestamptz NOT NULL
);
CREATE INDEX template_change_of ON template_change (waba_id, name, language, change_id);
