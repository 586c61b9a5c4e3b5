-- Who pays: the billing details of accounts, and the cards that their payment providers keep for them.

ALTER TABLE account
    ADD COLUMN legal_name text CHECK (length(legal_name) BETWEEN 1 AND 200),
    ADD COLUMN address text[] CHECK (cardinality(address) BETWEEN 1 AND 6),  -- lines, as on an envelope
    ADD COLUMN billing_email text CHECK (length(billing_email) BETWEEN 3 AND 254),
    ADD COLUMN tax_id_checked_at timestamptz;  -- when the EU's VIES said that it is valid; null: not asked, or no answer

-- A card is with its provider; here is its name there, and what its owner must be told about it.
CREATE TABLE payment_card (
    account_id  text NOT NULL REFERENCES account,
    method      text NOT NULL CHECK (method IN ('stripe', 'sandbox')),
    customer    text NOT NULL CHECK (length(customer) BETWEEN 1 AND 200),  -- the account's name at the provider
    card        text NOT NULL CHECK (length(card) BETWEEN 1 AND 200),
    brand       text NOT NULL CHECK (length(brand) <= 32),
    last4       text NOT NULL CHECK (last4 ~ '^[0-9]{4}$'),
    expires     date NOT NULL,  -- the last day that it is good
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, method)
);
