import errno
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from config.backup import archive, tables
from config.backup.archive import Manifest, Table
from config.backup.progress import Progress


class Command(BaseCommand):
    help = "Write all that the database holds, as of this moment, to a file."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path, help="a name that is not taken yet")

    def handle(self, *, file, **options):
        try:
            with archive.written(file) as zip_file:
                manifest = self.write(zip_file)
        except OSError as error:
            raise CommandError(explained(error, file)) from error
        size = file.stat().st_size / 1e6
        self.stdout.write(f"{file}: {manifest.rows:,} rows, {size:,.1f} MB")

    def write(self, zip_file):
        schema = known_schema()
        with tables.snapshot(schema.tables):
            if tables.Schema.here().migrations != schema.migrations:
                raise CommandError("The database was just upgraded: try again.")
            manifest = Manifest(
                rollcall=archive.own_version(),
                taken_at=tables.now(),
                migrations=sorted(schema.migrations),
                tables=list(self.write_tables(zip_file, schema.kept)),
                # Read last: a number given meanwhile is too high, never too low.
                sequences=tables.sequences(schema.kept),
            )
        archive.add(zip_file, archive.MANIFEST, [manifest.as_json()])
        return manifest

    def write_tables(self, zip_file, names):
        counts = {name: tables.count(name) for name in names}
        progress = Progress(self.stdout, "Writing", sum(counts.values()))
        for name, rows in counts.items():
            columns = tables.columns(name)
            with tables.rows(name, columns) as out:
                blocks = progress.counting(archive.in_blocks(out))
                sha256 = archive.add(zip_file, archive.member_of(name), blocks)
            yield Table(name, columns, rows, sha256)


def known_schema():
    schema = tables.Schema.here()
    if not schema.migrations:
        raise CommandError("The database is empty: there is nothing to back up.")
    if not schema.is_known:
        raise CommandError("The database is of a newer Rollcall: use that one.")
    return schema


def explained(error, file):
    if isinstance(error, FileExistsError) and error.errno is None:
        return str(error)
    if isinstance(error, FileExistsError):
        return (
            f"{file}.part is there: another backup is writing it, or one was killed and"
            " left it. In that case, remove it."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"There is no room for {file} ({error.strerror}); nothing is left of it."
    return f"{file} cannot be written ({error.strerror})."
