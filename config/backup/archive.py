"""The file that a backup is: a zip with one member a table, and a manifest.

A zip's list of contents is at its end, so a file that was cut short is no zip, and each
member can be written without knowing how long it will be.
"""

import errno
import hashlib
import json
import os
import struct
import tomllib
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from django.conf import settings

FORMAT = 1
MANIFEST = "manifest.json"
BLOCK = 256 * 1024  # bytes
# Level 6 takes three times as long, and makes the file a fifth smaller.
COMPRESSION = {"compression": ZIP_DEFLATED, "compresslevel": 1}
# What zipfile raises over damaged files; the test tries thousands.
DAMAGE = (
    BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


METHODS = {ZIP_DEFLATED, ZIP_STORED}
NO_BACKUP = "The file is no backup of a Rollcall, or it was cut short or damaged."


class Unfit(Exception):
    """The file cannot be restored; the message is a sentence that says why."""


@dataclass(frozen=True)
class Table:
    """One table of a backup; its member has the rows in COPY's text format."""

    name: str
    columns: list[str]
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself."""

    rollcall: str  # the version that made it
    taken_at: datetime
    migrations: list[list[str]]  # [app, name], all that were applied
    sequences: dict[str, int]  # {name: the last number that it gave}
    tables: list[Table]
    format: int = FORMAT

    @property
    def rows(self):
        return sum(table.rows for table in self.tables)

    def as_json(self):
        return json.dumps(asdict(self), default=datetime.isoformat, indent=1).encode()

    @classmethod
    def of_json(cls, text):
        """Raises Unfit, or one of DAMAGE."""
        fields = json.loads(text)
        if fields["format"] != FORMAT:
            raise Unfit(newer(fields["rollcall"]))
        tables = [Table(**table) for table in fields.pop("tables")]
        taken_at = datetime.fromisoformat(fields.pop("taken_at"))
        return cls(**fields, tables=tables, taken_at=taken_at)


def newer(version):
    return (
        f"The backup is of a newer Rollcall ({version}) than this one"
        f" ({own_version()}): install that one, then restore it."
    )


def own_version():
    with (settings.BASE_DIR / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["version"]


def member_of(table):
    return f"tables/{table}"


# Writing --------------------------------------------------------------------------


@contextmanager
def written(path):
    """A new backup at `path`, for `add` to fill. It gets its name when it is whole and
    on the disk; whatever goes wrong before that leaves nothing behind."""
    refuse_existing(path)
    part = path.with_name(f"{path.name}.part")
    with open(part, "xb", opener=for_its_owner) as file:
        try:
            with ZipFile(file, "w", **COMPRESSION) as archive:
                yield archive
            file.flush()
            os.fsync(file.fileno())
            refuse_existing(path)
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def for_its_owner(path, flags):
    """It holds all that was said, and the hashes of passwords."""
    return os.open(path, flags, mode=0o600)


def refuse_existing(path):
    if path.exists():
        raise FileExistsError(f"{path} is there already: take another name.")


def sync_folder(path):
    folder = os.open(path, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def add(archive, name, blocks):
    """Write a member out of blocks of bytes, as they come; its sha256."""
    digest = hashlib.sha256()
    with archive.open(name, "w", force_zip64=True) as member:
        for block in blocks:
            digest.update(block)
            member.write(block)
    return digest.hexdigest()


def in_blocks(rows):
    """The same bytes in larger pieces: a row at a time would take twice as long."""
    block = bytearray()
    for row in rows:
        block += row
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


# Reading --------------------------------------------------------------------------


class Archive:
    """A backup, opened for reading. Raises Unfit if it is none that fits."""

    def __init__(self, file):
        with refusing_damage(NO_BACKUP):
            self._zip = ZipFile(file)
            with self._member(MANIFEST) as member:
                self.manifest = Manifest.of_json(member.read())

    def blocks(self, table):
        """The rows of a Table, as blocks of bytes; Unfit at the end if they are not
        those that were written."""
        digest = hashlib.sha256()
        name = member_of(table.name)
        with refusing_damage(damaged(table)), self._member(name) as member:
            while block := member.read(BLOCK):
                digest.update(block)
                yield block
        if digest.hexdigest() != table.sha256:
            raise Unfit(damaged(table))

    def _member(self, name):
        """A flipped bit can name a method of compression that no backup has, whose
        decompressor has errors of its own."""
        entry = self._zip.getinfo(name)
        if entry.compress_type not in METHODS:
            raise BadZipFile(f"{name} is compressed by method {entry.compress_type}")
        return self._zip.open(entry)


@contextmanager
def refusing_damage(sentence):
    """Unfit(sentence) for damaged bytes. A disk that cannot be read is an OSError."""
    try:
        yield
    except DAMAGE as error:
        raise Unfit(sentence) from error
    except OSError as error:
        # A damaged offset may lie before the beginning of the file.
        if error.errno != errno.EINVAL:
            raise
        raise Unfit(sentence) from error


def damaged(table):
    return f"The backup is damaged: {table.name} is not what was written. Take another."
