-- Three roles for the database this is run in, as a superuser; again, nothing changes.
-- rollcall_owner owns the tables and changes their form (`manage.py prepare`). rollcall
-- serves: it reads and writes rows, can neither make nor drop anything, and can neither
-- change nor delete what is in the log. rollcall_purge reads and deletes. What the last two
-- may do with each table, `prepare` decides (config/privileges.py).

BEGIN;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rollcall_owner') THEN
        CREATE ROLE rollcall_owner LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rollcall') THEN
        CREATE ROLE rollcall LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rollcall_purge') THEN
        CREATE ROLE rollcall_purge LOGIN;
    END IF;
    EXECUTE format('ALTER DATABASE %I OWNER TO rollcall_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO rollcall, rollcall_purge', current_database());
END
$$;
ALTER ROLE rollcall NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 180;
ALTER ROLE rollcall_owner NOSUPERUSER NOCREATEDB NOCREATEROLE;
ALTER ROLE rollcall_purge NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 2;
ALTER SCHEMA public OWNER TO rollcall_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO rollcall, rollcall_purge;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO rollcall;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO rollcall;
ALTER DEFAULT PRIVILEGES FOR ROLE rollcall_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO rollcall;
ALTER DEFAULT PRIVILEGES FOR ROLE rollcall_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO rollcall;
DO $$
BEGIN -- It was given with all tables just now, and `prepare` need not run after this.
    IF to_regclass('public.rooms_event') IS NOT NULL THEN
        REVOKE UPDATE, DELETE ON rooms_event FROM rollcall;
    END IF;
END
$$;
COMMIT;
