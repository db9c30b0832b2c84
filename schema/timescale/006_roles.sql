-- Who may do what. Two group roles without a login; whoever owns the tables gives logins of his own to one of them:
--     CREATE ROLE recorder LOGIN PASSWORD '…' IN ROLE tickbay_writer;
-- A writer adds rows and moves its cursor: it can neither change nor remove what was recorded. A reader only reads.

-- Partitions are made and dropped by these two for a writer that owns nothing; both touch tickbay's own tables only.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION tickbay_make_partitions(date) SECURITY DEFINER SET search_path = %I, public, pg_temp',
                   current_schema());
    EXECUTE format('ALTER FUNCTION tickbay_drop_before(text, timestamptz) SECURITY DEFINER SET search_path = %I, public, pg_temp',
                   current_schema());
END
$$;
REVOKE EXECUTE ON FUNCTION tickbay_make_partitions(date), tickbay_drop_before(text, timestamptz) FROM PUBLIC;

-- Make the roles where they are missing and give them what they lack. Run at every start of a writer that owns the tables: a
-- later step may have brought new ones. False where this user may not create roles.
CREATE FUNCTION tickbay_grant_roles() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    own record;
BEGIN
    IF to_regrole('tickbay_writer') IS NULL OR to_regrole('tickbay_reader') IS NULL THEN
        IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
            RETURN false;
        END IF;
        -- Roles belong to the whole server: another database's tickbay may be making them at this moment.
        FOR own IN SELECT unnest(ARRAY['tickbay_writer', 'tickbay_reader']) AS role LOOP
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', own.role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END LOOP;
    END IF;
    FOR own IN
        SELECT c.relname AS name, c.relkind IN ('r', 'p') AND c.relname <> 'schema_version' AS filled
        FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
          AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
    LOOP
        IF NOT has_table_privilege('tickbay_reader', format('%I', own.name), 'SELECT') THEN
            EXECUTE format('GRANT SELECT ON %I TO tickbay_reader', own.name);
        END IF;
        IF own.filled AND NOT has_table_privilege('tickbay_writer', format('%I', own.name), 'INSERT') THEN
            EXECUTE format('GRANT INSERT ON %I TO tickbay_writer', own.name);
        END IF;
    END LOOP;
    IF NOT has_table_privilege('tickbay_writer', 'sink_cursor', 'UPDATE') THEN
        GRANT SELECT, UPDATE ON sink_cursor TO tickbay_writer;
        GRANT SELECT ON schema_version TO tickbay_writer;
        GRANT EXECUTE ON FUNCTION tickbay_make_partitions(date), tickbay_drop_before(text, timestamptz) TO tickbay_writer;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO tickbay_writer, tickbay_reader', current_schema());
    END IF;
    RETURN true;
END
$$;
