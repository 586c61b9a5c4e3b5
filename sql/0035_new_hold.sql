-- A hold as the gateway hands it over to be recorded: many at once are one array of these. An array for each column cost
-- the gateway and the server more than all else about the statement. Attributes stay as they are: a gateway of another
-- version may be running, so a further one needs another type.
CREATE TYPE new_hold AS (
    hold_id uuid, number_id text, epoch bigint, class text, fare_micros bigint, regime text, category text, market text,
    why text, rate_source text, state_evidence text, pool text, recipient text, template text, note text,
    client_reference text, created_ms bigint, expires_ms bigint, opens text, rides uuid, overdrawn boolean,
    rate_micros bigint, markup_micros bigint, tax_micros bigint, sent_with uuid, claim_id uuid, key_id uuid
);
