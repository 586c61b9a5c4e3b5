-- What webhooks say and the books could not take: kept with the reason, shown, and told again on demand.

CREATE TABLE quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    about         text NOT NULL,         -- a number, a business account or a template list, ours or not
    kind          text NOT NULL,         -- farebox/news.py
    reason        text NOT NULL,         -- one sentence
    payload       jsonb NOT NULL,        -- ids, statuses, prices and times; no message text
    digest        bytea NOT NULL UNIQUE, -- of kind, about and payload: what is repeated is one row
    tries         bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL,
    resolved_at   timestamptz            -- told again with success
);
CREATE INDEX quarantine_open ON quarantine (kind, quarantine_id) WHERE resolved_at IS NULL;
CREATE INDEX quarantine_resolved ON quarantine (resolved_at) WHERE resolved_at IS NOT NULL;

-- Which hold a message belongs to that its send did not tell the ledger of: whoever claims first, a webhook that is
-- charged for itself or a send that is accounted after an outage. Both keys are unique, so a message is charged once.
CREATE TABLE message_claim (
    number_id  text NOT NULL REFERENCES number,
    wamid      text NOT NULL,
    hold_id    uuid NOT NULL UNIQUE,
    claimed_at timestamptz NOT NULL,
    PRIMARY KEY (number_id, wamid)
);
