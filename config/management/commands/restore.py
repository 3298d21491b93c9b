from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.utils.timesince import timesince
from psycopg.errors import InsufficientPrivilege, LockNotAvailable

from accounts.models import Session
from config.backup import archive, tables
from config.backup.archive import Archive, Unfit
from config.backup.progress import Progress
from config.management.commands.prepare import PREPARING
from config.privileges import settle_privileges
from messaging.rendering import stored
from rooms.models import Installation, Node, attendance
from rooms.moving import move_texts


class Command(BaseCommand):
    help = (
        "Replace all that the database holds by a backup. Without --yes: only say what"
        " is in the file, and what it would replace."
    )
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path, help="what `backup` has written")
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *, file, yes, **options):
        try:
            with file.open("rb") as opened:
                self.restore(Archive(opened), yes)
        except Unfit as unfit:
            raise CommandError(f"{file}: {unfit}") from unfit
        except OSError as error:
            raise CommandError(f"{file} cannot be read ({error.strerror}).") from error

    def restore(self, backup, yes):
        manifest = backup.manifest
        here = check_versions(manifest)
        self.check_whole(backup)
        self.describe(manifest, here)
        if not yes:
            self.stdout.write("Nothing was changed. `--yes` does it.")
            return
        progress = Progress(self.stdout, "Restoring", manifest.rows)
        try:
            replace_all(
                manifest,
                lambda table: progress.counting(backup.blocks(table)),
                self.clean,
            )
        except (OperationalError, ProgrammingError) as error:
            if sentence := explained(error):
                raise CommandError(sentence) from error
            raise
        self.stdout.write(f"Restored: {manifest.rows:,} rows.")

    def clean(self):
        """What a browser shows as HTML is cleaned here, whoever wrote the file."""
        progress = Progress(self.stdout, "Cleaning", stored.count_marked_up())
        if changed := stored.clean_all(progress.add):
            self.stdout.write(f"Cleaned the HTML of {changed:,} messages.")

    def check_whole(self, backup):
        """Read it all before anything is touched."""
        progress = Progress(self.stdout, "Checking", backup.manifest.rows)
        for table in backup.manifest.tables:
            for _block in progress.counting(backup.blocks(table)):
                pass

    def describe(self, manifest, here):
        age = timesince(manifest.taken_at)
        self.stdout.write(
            f"A backup of Rollcall {manifest.rollcall}, taken at"
            f" {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC, {age} ago."
        )
        self.stdout.write(f"{'rows':30}{'in the backup':>15}{'here now':>15}")
        there = {table.name: table.rows for table in manifest.tables}
        now = {name: tables.count(name) for name in here.kept}
        for name in sorted(there.keys() | now.keys()):
            if there.get(name) or now.get(name):
                counts = f"{there.get(name, 0):15,}{now.get(name, 0):15,}"
                self.stdout.write(f"{name:30}{counts}")
        if any(now.values()):
            self.stdout.write("All that is here now would be replaced.")


def check_versions(manifest):
    """The database's Schema; Unfit, or CommandError, where one of the two is newer."""
    if not tables.Schema(manifest.migrations).is_known:
        raise Unfit(archive.newer(manifest.rollcall))
    here = tables.Schema.here()
    if not here.is_known:
        raise CommandError(
            "The database is of a newer Rollcall than this one. Restore with that one,"
            " or into an empty database."
        )
    return here


@transaction.atomic
def replace_all(manifest, blocks, clean):
    """One transaction: others see the old or the new, and an end in the middle leaves
    the old."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PREPARING])
    sessions = sessions_alive()
    tables.replace(manifest, blocks)
    move_texts()
    settle_privileges()
    clean()
    # No cursor that was given out so far is good any more.
    Installation.renew()
    # The servers of the backup are gone; those that run now find themselves unknown,
    # drop their sockets, and begin a new life. The sweep writes who has left.
    Node.objects.running().stop()
    attendance.sweep()
    Session.objects.take_over(sessions)


def sessions_alive():
    """Who is signed in now: they stay so, if the backup knows them with the same
    password."""
    if tables.Schema.here().is_newest:
        return list(Session.objects.alive().filter(user__isnull=False))
    return []


def explained(error):
    match error.__cause__:
        case InsufficientPrivilege():
            reason = str(error).splitlines()[0]
            return (
                f"The database's role may not do that ({reason}): restore as the role"
                " that owns the tables."
            )
        case LockNotAvailable():
            return (
                "Somebody else holds the tables, such as a backup that is being made:"
                " try again later. Nothing was changed."
            )
