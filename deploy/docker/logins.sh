#!/bin/sh
# The logins of tickbay (adds rows) and Grafana (reads), with the passwords in their files. Run after `tickbay schema apply`,
# which makes the roles that they are in. Running it again changes the passwords and nothing else.
set -eu
PGPASSWORD=$(cat /run/secrets/db_password)
export PGPASSWORD
exec psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 <<'SQL'
\set writer `cat /run/secrets/db_writer_password`
\set reader `cat /run/secrets/db_reader_password`
-- A statement that holds a password is not for the server's log, whatever becomes of it.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SELECT 'CREATE ROLE tickbay_engine' WHERE to_regrole('tickbay_engine') IS NULL
UNION ALL
SELECT 'CREATE ROLE grafana' WHERE to_regrole('grafana') IS NULL
\gexec
ALTER ROLE tickbay_engine LOGIN PASSWORD :'writer';
ALTER ROLE grafana LOGIN PASSWORD :'reader';
GRANT tickbay_writer TO tickbay_engine;
GRANT tickbay_reader TO grafana;
SQL
