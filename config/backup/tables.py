"""The database as a backup sees it: what version it is of, its tables, their rows."""

from contextlib import contextmanager
from functools import cached_property

from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from psycopg.errors import DeadlockDetected
from psycopg.sql import SQL, Identifier

# Whoever holds a session's key is signed in: no file has them. It also means that no
# session that has ended can come back to life.
NOT_KEPT = {"accounts_session", "django_session"}
LOCK_TRIES = 20
LOCK_WITHIN = "10s"


class Schema:
    """The tables of one version of Rollcall, told by the migrations that make them."""

    def __init__(self, migrations):
        self.migrations = {tuple(migration) for migration in migrations}
        self._loader = MigrationLoader(None)

    @classmethod
    def here(cls):
        """That of the database."""
        return cls(MigrationRecorder(connection).applied_migrations())

    @property
    def is_known(self):
        """Whether this version of the code has all of its migrations."""
        return self.migrations <= self._loader.graph.nodes.keys()

    @property
    def is_newest(self):
        return self.migrations == self._loader.graph.nodes.keys()

    @cached_property
    def tables(self):
        """The names of its tables, but the one of the migrations themselves."""
        models = self._loader.project_state(self.leaves).apps.get_models(
            include_auto_created=True
        )
        return sorted({model._meta.db_table for model in models if model._meta.managed})

    @property
    def kept(self):
        """The tables that a backup holds."""
        return [name for name in self.tables if name not in NOT_KEPT]

    @property
    def leaves(self):
        """The last migrations of each app, which imply the others."""
        followed = {
            parent.key
            for key in self.migrations
            for parent in self._loader.graph.node_map[key].parents
            if parent.key[0] == key[0]
        }
        return sorted(self.migrations - followed)

    def build(self):
        """Make its tables, where there are none."""
        MigrationExecutor(connection).migrate(self.leaves)


# Out ------------------------------------------------------------------------------


@contextmanager
def snapshot(tables):
    """All that is read here is of one moment. Nobody waits, but who would change or
    empty a whole table. (Locked first: a TRUNCATE is seen by snapshots before it.)"""
    with transaction.atomic():
        execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if tables:
            execute(SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(listed(tables)))
        yield


def now():
    """The moment of the transaction, by the database's clock."""
    return fetch("SELECT now()")[0][0]


def count(table):
    return fetch(SQL("SELECT count(*) FROM {}").format(Identifier(table)))[0][0]


def columns(table):
    """The names of a table's columns that can be written."""
    rows = fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)"
        " AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        [table],
    )
    return [name for (name,) in rows]


@contextmanager
def rows(table, columns):
    """A table's rows to iterate over, as COPY's text: a line feed ends each."""
    copy = SQL("COPY {} ({}) TO STDOUT").format(Identifier(table), listed(columns))
    with connection.cursor() as cursor, cursor.copy(copy) as out:
        yield out


def sequences(tables):
    """{name: the last number given} of the sequences that number the tables' rows."""
    found = fetch(
        "SELECT relname, CASE relkind WHEN 'S' THEN pg_sequence_last_value(oid) END"
        " FROM (SELECT DISTINCT objid AS oid FROM pg_depend WHERE deptype IN ('a', 'i')"
        "  AND refobjid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)"
        " ) AS owned JOIN pg_class USING (oid)",
        [tables],
    )
    return {name: last for name, last in found if last is not None}


# In -------------------------------------------------------------------------------


def replace(manifest, blocks):
    """Make the database what a backup holds, in the transaction that is open.

    `blocks(table)` gives a Table's rows. The servers that run wait meanwhile, or give
    up; and the tables end as those of this version, whatever the backup's was.
    """
    here, there = Schema.here(), Schema(manifest.migrations)
    lock(here.tables)
    given = sequences(here.tables)
    if here.migrations != there.migrations:
        drop(here)
        there.build()
    execute(SQL("TRUNCATE {}").format(listed(there.tables)))
    with foreign_keys_aside(there.tables):
        for table in manifest.tables:
            load(table, blocks(table))
    for name, last in manifest.sequences.items():
        # Never backwards: a server remembers visits and rooms by number, and must not
        # take one that comes for one that is gone.
        execute("SELECT setval(%s, %s)", [name, max(last, given.get(name, 0))])
    if not there.is_newest:
        call_command("migrate", verbosity=0, interactive=False)
    execute("ANALYZE")


def lock(tables):
    """Keep everybody else out until the transaction ends.

    What writes to a log holds the heads first: once they are ours, what is on its way
    has ended, and nothing new begins. Of others, a statement may hold one table and
    want the next, as we do; PostgreSQL then ends one of the two, and we try again.
    """
    if not tables:
        return
    heads_first = sorted(tables, key=lambda name: name != "rooms_head")
    execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'")
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            with transaction.atomic():
                return execute(SQL("LOCK TABLE {}").format(listed(heads_first)))
        except OperationalError as error:
            if not (tries_left and isinstance(error.__cause__, DeadlockDetected)):
                raise


@contextmanager
def foreign_keys_aside(tables):
    """Checked at the end as a whole, they take a tenth of the time."""
    keys = fetch(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE contype = 'f' AND conrelid"
        " = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)",
        [tables],
    )
    for table, name, _definition in keys:
        alter(table, SQL("DROP CONSTRAINT {}").format(Identifier(name)))
    yield
    for table, name, definition in keys:
        how = SQL("ADD CONSTRAINT {} {}").format(Identifier(name), SQL(definition))
        alter(table, how)


def alter(table, how):
    execute(SQL("ALTER TABLE {} {}").format(SQL(table), how))


def drop(schema):
    if schema.migrations:
        names = listed([*schema.tables, "django_migrations"])
        execute(SQL("DROP TABLE {}").format(names))


def load(table, blocks):
    copy = SQL("COPY {} ({}) FROM STDIN").format(
        Identifier(table.name), listed(table.columns)
    )
    with connection.cursor() as cursor, cursor.copy(copy) as into:
        for block in blocks:
            into.write(block)


# ----------------------------------------------------------------------------------


def listed(names):
    return SQL(", ").join(map(Identifier, names))


def execute(statement, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def fetch(statement, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
