-- The page: who may sign in, who is signed in, and what its screens look things up by.

-- A person. A password is kept as its argon2id hash. `failures`: wrong passwords in a row, the last at `failed_at`.
CREATE TABLE admin_user (
    user_name      text PRIMARY KEY CHECK (user_name ~ '^[a-z0-9][a-z0-9._@+-]{0,63}$'),
    password_hash  text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    role           text NOT NULL CHECK (role IN ('viewer', 'finance', 'operator')),
    failures       int NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failed_at      timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- Who is signed in. Only a digest of the cookie is stored. Its times are the real ones: a test clock signs nobody out.
-- Without a user it is a sandbox's, signed in with the admin token.
CREATE TABLE admin_session (
    digest      bytea PRIMARY KEY,
    user_name   text REFERENCES admin_user ON DELETE CASCADE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX admin_session_created ON admin_session (created_at);

-- Entries come in the order of their time, so a block range index finds a day of a month's million for some kilobytes.
-- What is no charge is rare; those are looked up for any span.
CREATE INDEX entry_at ON entry USING brin (at) WITH (pages_per_range = 32);
CREATE INDEX entry_not_charged ON entry (number_id, at) WHERE kind <> 'settle';

-- Messages are searched by the last digits of their recipient and by the client's own reference, newest first.
CREATE INDEX hold_recipient_ending ON hold (right(recipient, 4), hold_id);
CREATE INDEX hold_client_reference ON hold (client_reference, hold_id) WHERE client_reference IS NOT NULL;
