"""A backup's file with chosen damage: whatever the bytes, one who restores it is told
that it is damaged, and never gets other rows than were written."""

import datetime as dt
import errno
import io
import random
import zipfile

import pytest

from config.backup import archive
from config.backup.archive import Archive, Manifest, Table, Unfit

ROWS = {
    "rooms_room": b"1\tlobby\n" * 40,
    "rooms_event": random.Random(1).randbytes(300),
}
# Where a member's head, and its entry in the list of contents, name its compression.
METHOD_IN_HEAD, METHOD_IN_LIST = 8, 10
HEAD = 30  # bytes, and the name and the extra field after them


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "chat.backup"
    with archive.written(path) as new:
        tables = [
            Table(name, ["row"], 1, archive.add(new, archive.member_of(name), [rows]))
            for name, rows in ROWS.items()
        ]
        manifest = Manifest("0.1.0", dt.datetime.now(dt.UTC), [], {}, tables)
        archive.add(new, archive.MANIFEST, [manifest.as_json()])
    return path


def read_all(file):
    with file.open("rb") as opened:
        backup = Archive(opened)
        return {
            table.name: b"".join(backup.blocks(table))
            for table in backup.manifest.tables
        }


def is_seen(file, text):
    """Whether that text in place of the file's is refused; else it reads the same."""
    file.write_bytes(text)
    try:
        assert read_all(file) == ROWS
    except Unfit:
        return True
    return False


def anatomy(file):
    """Where each member begins, by name; and where the list of contents begins."""
    with zipfile.ZipFile(file) as whole:
        begins = {one.filename: one.header_offset for one in whole.infolist()}
        return begins, whole.start_dir


def around_the_rows(file):
    """All places outside the compressed rows: members' heads, the list of contents."""
    begins, contents = anatomy(file)
    for name, begin in begins.items():
        extra = int.from_bytes(file.read_bytes()[begin + 28 : begin + HEAD], "little")
        yield from range(begin, begin + HEAD + len(name) + extra)
    yield from range(contents, file.stat().st_size)


def test_every_flipped_bit_around_the_rows_is_harmless_or_told(file):
    text = file.read_bytes()
    seen = 0
    for place in around_the_rows(file):
        for bit in range(8):
            damaged = bytearray(text)
            damaged[place] ^= 1 << bit
            seen += is_seen(file, damaged)
    assert seen > 1000


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("fill", [b"\x00", b"\x7f", b"\x80", b"\xff"])
def test_every_number_at_its_bounds_is_harmless_or_told(file, width, fill):
    text = file.read_bytes()
    seen = 0
    for place in around_the_rows(file):
        damaged = text[:place] + fill * width + text[place + width :]
        seen += is_seen(file, damaged[: len(text)])
    assert seen > 100


@pytest.mark.parametrize("member", ["tables/rooms_event", archive.MANIFEST])
def test_every_other_method_of_compression_is_told(file, member):
    """bz2 and LZMA have errors of their own, and newer Pythons know more methods."""
    text = bytearray(file.read_bytes())
    begins, contents = anatomy(file)
    entry = text.index(member.encode(), contents) - 46
    places = (begins[member] + METHOD_IN_HEAD, entry + METHOD_IN_LIST)
    for method in (*range(100), 0xFFFF):
        for place in places:
            text[place : place + 2] = method.to_bytes(2, "little")
        assert is_seen(file, text) == (method != zipfile.ZIP_DEFLATED), method


def test_a_disk_that_cannot_be_read_is_no_damage(file):
    class Disk(io.BytesIO):
        is_broken = False

        def read(self, *size):
            if self.is_broken:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(*size)

    disk = Disk(file.read_bytes())
    backup = Archive(disk)
    disk.is_broken = True
    with pytest.raises(OSError, match="Input/output"):
        list(backup.blocks(backup.manifest.tables[0]))
