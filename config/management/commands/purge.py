from django.core.management.base import BaseCommand, CommandError

from accounts.models import Session
from accounts.security_record import SecurityRecord
from rooms.models import Node, Visit

AT_ONCE = 10_000  # rows


class Command(BaseCommand):
    help = (
        "Forget what need not be kept: visits older than --days, and sign-ins that have"
        " run out. Without --yes: only say how many. The logs of rooms stay whole."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--days", type=int, default=90, help="how long visits are kept (90)"
        )
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *, days, yes, **options):
        if not 1 <= days <= 36_500:
            raise CommandError("--days is 1 to 36500.")
        self.forget(
            f"visits older than {days} days", Visit.objects.older_than(days), yes
        )
        self.forget("server processes without visits", Node.objects.unvisited(), yes)
        self.forget("sign-ins that have run out", Session.objects.ended(), yes)
        records = SecurityRecord.objects.older_than(days)
        self.forget(f"security records older than {days} days", records, yes)
        if not yes:
            self.stdout.write("Nothing was changed. `--yes` does it.")

    def forget(self, what, rows, yes):
        self.stdout.write(f"{rows.count():,} {what}")
        if yes:
            delete(rows)


def delete(rows):
    """Some at a time: an end in the middle leaves those that are gone gone."""
    rows, last = rows.order_by("pk"), None
    while True:
        some = rows.filter(pk__gt=last) if last is not None else rows
        ids = list(some.values_list("pk", flat=True)[:AT_ONCE])
        if not ids:
            return
        rows.filter(pk__in=ids).delete()
        last = ids[-1]
