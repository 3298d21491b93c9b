"""The step before serving: the one that changes the database's form."""

from django.core.management import BaseCommand, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from config.privileges import settle_privileges
from config.server import static
from rooms.moving import move_texts

PREPARING = 0x526F6C6C  # the advisory lock under which one process prepares for all


class Command(BaseCommand):
    help = "Bring the database and the static files up to date."
    requires_system_checks = []  # they cost time, and `make test` has done them

    def handle(self, **options):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [PREPARING])
            self.migrate()
            static.collect()
            cursor.execute("SELECT pg_advisory_unlock(%s)", [PREPARING])

    def migrate(self):
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write("Setting up the database …")
            self.stdout.flush()
            call_command("migrate", verbosity=0, interactive=False)
        move_texts()
        settle_privileges()
