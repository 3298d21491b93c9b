#!/bin/sh
# The passwords of the roles that roles.sql has made, from the environment to standard
# input: no command line shows them.
set -eu
psql --quiet --set ON_ERROR_STOP=1 --dbname "${POSTGRES_DB:-rollcall}" "$@" <<SQL
ALTER ROLE rollcall_owner PASSWORD '$OWNER_PASSWORD';
ALTER ROLE rollcall PASSWORD '$APP_PASSWORD';
ALTER ROLE rollcall_purge PASSWORD '$PURGE_PASSWORD';
SQL
