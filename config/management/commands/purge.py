from django.core.management.base import BaseCommand, CommandError
from django.db import ProgrammingError
from psycopg.errors import InsufficientPrivilege

from accounts.models import Session
from accounts.security_record import SecurityRecord
from config.backup.progress import Progress
from rooms.models import Event, Node, Room, Visit
from rooms.moderation import KEPT_DELETED
from rooms.purging import claim, delete_in_batches, remove


class Command(BaseCommand):
    help = (
        "Forget what need not be kept: visits and security records older than --days,"
        " sign-ins that have run out, and rooms that were deleted"
        f" {KEPT_DELETED.days} days ago. Without --yes: only say how many."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--days", type=int, default=90, help="how long visits are kept (90)"
        )
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *, days, yes, **options):
        if not 1 <= days <= 36_500:
            raise CommandError("--days is 1 to 36500.")
        try:
            self.forget_all(days, yes)
        except ProgrammingError as error:
            if not isinstance(error.__cause__, InsufficientPrivilege):
                raise
            raise CommandError(
                "The database's role may not delete that: purge as the role"
                " rollcall_purge, or as the one that owns the tables."
            ) from error
        if not yes:
            self.stdout.write("Nothing was changed. `--yes` does it.")

    def forget_all(self, days, yes):
        self.forget(
            f"visits older than {days} days", Visit.objects.older_than(days), yes
        )
        self.forget("server processes without visits", Node.objects.unvisited(), yes)
        self.forget("sign-ins that have run out", Session.objects.ended(), yes)
        records = SecurityRecord.objects.older_than(days)
        self.forget(f"security records older than {days} days", records, yes)
        self.remove_rooms(yes)

    def forget(self, what, rows, yes):
        self.stdout.write(f"{rows.count():,} {what}")
        if yes:
            delete_in_batches(rows)

    def remove_rooms(self, yes):
        rooms = Room.everything.due()
        events = Event.objects.filter(room__in=rooms).count()
        self.stdout.write(
            f"{rooms.count():,} rooms deleted more than {KEPT_DELETED.days} days ago,"
            f" with {events:,} events"
        )
        progress = Progress(self.stdout, "Removing", events)
        for room in rooms if yes else []:
            if not claim(room):
                self.stdout.write(f"{room.name} is left: it is back, or in use.")
                continue
            for count in remove(room):
                progress.add(count)
