"""What the roles of deploy/postgres/roles.sql may do with the tables, once there are
some.

The role that serves adds to the log, and can neither change nor delete what is in it.
The role of `purge` reads and deletes, and nothing else. Where one role does it all, as
in `make run`, there is nothing to give or to take.
"""

from django.db import connection
from psycopg.sql import SQL, Identifier

SERVING, PURGING = "rollcall", "rollcall_purge"
LOG = "rooms_event"
PURGED = "^(rooms|messaging|accounts)_"
KEPT = ["accounts_user", "rooms_installation"]

ROLES = """
    SELECT rolname FROM pg_roles, pg_tables
    WHERE rolname = ANY(%s) AND rolname <> tableowner
        AND schemaname = current_schema AND tablename = %s AND tableowner = current_user
"""
TABLES = """
    SELECT tablename FROM pg_tables
    WHERE schemaname = current_schema AND tablename ~ %s AND tablename <> ALL(%s)
"""


def settle_privileges():
    """Give and take them, as the owner of the tables; done again, nothing changes."""
    with connection.cursor() as cursor:
        roles = _column(cursor, ROLES, [[SERVING, PURGING], LOG])
        if SERVING in roles:
            cursor.execute(f"REVOKE UPDATE, DELETE ON {LOG} FROM {SERVING}")
        if PURGING in roles:
            tables = _column(cursor, TABLES, [PURGED, KEPT])
            names = SQL(", ").join(map(Identifier, tables))
            cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {PURGING}")
            give = SQL("GRANT DELETE ON {} TO {}")
            cursor.execute(give.format(names, Identifier(PURGING)))


def _column(cursor, statement, parameters):
    cursor.execute(statement, parameters)
    return [value for (value,) in cursor.fetchall()]
