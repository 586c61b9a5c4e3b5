-- The rights of the role that runs the gateway, where it is not the one that owns the tables. `farebox migrate --grant-to`
-- runs this after every migration, with the role's name in farebox.grant_to; it begins with nothing, so that a right which
-- is not given here is taken back.
--
-- To this role an entry and a row of the audit log are written once, a hold is never deleted, and a stored balance follows its entries: it owns
-- neither tables nor triggers, and the partitions it reaches only through their tables.
DO $$
DECLARE
    role  text := current_setting('farebox.grant_to');
    own   text := current_schema();
    name  text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        RAISE EXCEPTION 'there is no role %: create it first', quote_ident(role);
    END IF;
    IF pg_has_role(role, (SELECT relowner FROM pg_class WHERE oid = 'entry'::regclass), 'MEMBER') THEN
        RAISE EXCEPTION 'the role % owns the tables, so no right can be kept from it: create another', quote_ident(role);
    END IF;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', own, role);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', own, role);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', own, role);
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', own, role);
    FOR name IN
        SELECT relname FROM pg_class WHERE relnamespace = own::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    LOOP
        EXECUTE format(CASE
            WHEN name IN ('migration', 'history', 'entry_total', 'dropped_month', 'repair', 'usage_total') THEN 'GRANT SELECT ON %I TO %I'
            WHEN name IN ('entry', 'audit') THEN 'GRANT SELECT, INSERT ON %I TO %I'
            WHEN name = 'balance' THEN
                'GRANT SELECT, INSERT (number_id), UPDATE (balance_micros) ON %I TO %I'  -- entries_micros: the trigger's
            WHEN name IN ('hold', 'usage', 'topup', 'movement', 'number', 'account') THEN 'GRANT SELECT, INSERT, UPDATE ON %I TO %I'
            ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I'
        END, name, role);
    END LOOP;
END $$;
