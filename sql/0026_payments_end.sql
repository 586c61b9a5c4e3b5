-- Cards that payers enter at a provider's own page, and payments that have ended for good.

-- A page of a provider where a card is entered for an account. Its address is not kept: whoever asked has it.
CREATE TABLE card_link (
    method      text NOT NULL CHECK (method IN ('stripe', 'sandbox')),
    link_id     text NOT NULL CHECK (length(link_id) BETWEEN 1 AND 200),  -- the page's name at the provider
    account_id  text NOT NULL REFERENCES account,
    customer    text NOT NULL CHECK (length(customer) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL,
    looked_at   timestamptz,                                              -- when its provider was last asked
    ended_at    timestamptz,                                              -- its card was saved, or it has expired
    PRIMARY KEY (method, link_id)
);
CREATE INDEX card_link_open ON card_link (created_at) WHERE ended_at IS NULL;
CREATE INDEX card_link_account ON card_link (account_id, method, created_at);
CREATE TRIGGER card_link_audit AFTER INSERT ON card_link
    FOR EACH ROW EXECUTE FUNCTION audit_change('card link', 'account_id', 'customer', 'link_id');

-- A decline is not the end of a payment: its provider may still take the money, as long as it was not told to give it up.
-- Until then an auto-renewal counts towards its cap.
ALTER TABLE topup ADD COLUMN closed_at timestamptz;  -- since when no money can come of it any more; null: it still can
UPDATE topup SET closed_at = coalesce(changed_at, created_at)
WHERE state = 'cancelled' OR (state = 'failed' AND provider_id IS NOT NULL);
CREATE INDEX topup_unclosed ON topup (looked_at) WHERE state IN ('failed', 'cancelled') AND closed_at IS NULL;
