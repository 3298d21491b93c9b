import sys

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from messaging import check_log


class Command(BaseCommand):
    help = "Check the logs of all rooms; exit code 1, and the first faults, if any."

    def add_arguments(self, parser) -> None:
        parser.add_argument(
            "--faults", type=int, default=5, help="how many to name of each sort (5)"
        )

    def handle(self, *, faults, **options):
        if faults < 1:
            raise CommandError("--faults is 1 or more.")
        # One snapshot for all questions: an event written meanwhile is no fault.
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
                )
            rooms, events = check_log.size()
            found = sum(self._check(rule, faults) for rule in check_log.RULES)
        self.stdout.write(f"{rooms:,} rooms · {events:,} events · {found:,} faults")
        if found:
            sys.exit(1)

    def _check(self, rule, limit):
        found = check_log.faults(rule, limit)
        self.stdout.write(f"{'✗' if found else '✓'} {rule.name}")
        for fault in found:
            self.stdout.write(f"    {fault.room} #{fault.seq}: {fault.what}")
        return len(found)
