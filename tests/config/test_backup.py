"""`backup` and `restore`: all of it or nothing, and a sentence that says which."""

import io
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone

from accounts.models import Session, User
from config.backup import archive, tables
from config.backup.archive import Archive, Unfit
from messaging import check_log, history
from messaging.models import Message
from messaging.rendering import stored
from messaging.rendering.markdown import to_html
from messaging.rendering.plain import to_plain_html
from messaging.writing.requests import EnterRoom, PostMessage, write_batch
from rooms.models import Event, Head, Installation, Node, Room, Visit
from tests.conftest import database_url
from tests.support.servers import ROOT, own_environment, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

EVENTS = "rooms_event"
AWKWARD = "tab\tfeed\nback\\slash \\N \\. „Привет“ 👩‍👩‍👧 'quote\" %s {}"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "chat.backup"


@pytest.fixture
def talk(room, bob):
    """Some days of talk, and what is hard to carry."""
    call_command("seed_demo", days=2, messages=20, stdout=io.StringIO())
    Group.objects.create(name="helpers").user_set.add(bob)
    say(room, bob, AWKWARD)
    return room


def say(room, user, body, key=None):
    (outcome,) = write_batch(
        [PostMessage(room.pk, user, key or f"{random.random()}", body)]
    )
    return outcome


def backup(file):
    call_command("backup", file, stdout=io.StringIO())
    return file


def restore(file, *options):
    out = io.StringIO()
    call_command("restore", file, *options, stdout=out)
    return out.getvalue()


def manage(*words, environment=None, **options):
    """`manage.py` as a process of its own, on the test database."""
    own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
    return subprocess.Popen(
        [sys.executable, "manage.py", *map(str, words)],
        cwd=ROOT,
        env=own_environment(**own | (environment or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def contents(without=("accounts_session", "django_session")):
    """{table: what is in it}, of every table that the database has."""
    with connection.cursor() as cursor:
        names = set(connection.introspection.table_names(cursor)) - set(without)
        found = {}
        for name in names:
            cursor.execute(
                "SELECT count(*), md5(string_agg(row::text, ' ' ORDER BY row::text))"
                f' FROM "{name}" AS row'
            )
            found[name] = cursor.fetchone()
    return found


def faults():
    return [fault for rule in check_log.RULES for fault in check_log.faults(rule, 5)]


def change_all():
    """The world goes on after a backup."""
    bob = User.objects.get(username="bob")
    room = Room.objects.get(slug="lobby")
    say(room, bob, "This will not have been said.")
    room.set_topic("Another", by=User.objects.get(username="alice"))
    bob.email = "bob@example.org"
    bob.save()
    Group.objects.all().delete()
    late = User.objects.create_user("late")
    Room.objects.create_with_owner("attic", late)
    Room.objects.get(slug="design").delete()


# There and back --------------------------------------------------------------------


def test_what_comes_back_is_what_was_there(talk, file):
    before = contents()
    backup(file)
    change_all()
    assert contents() != before
    restore(file, "--yes")
    after = contents()
    assert {name for name in before if before[name] != after[name]} == {
        "rooms_installation"
    }
    assert Message.objects.filter(body=AWKWARD).count() == 1
    assert faults() == []


def test_talk_goes_on_with_the_next_number(talk, file, bob, carol):
    head = talk.events.count()
    backup(file)
    change_all()
    restore(file, "--yes")
    assert say(talk, bob, "after") == head + 1
    assert Room.objects.create_with_owner("attic", carol).head.seq == 0
    assert faults() == []


LINK = 'target="_blank" rel="noopener noreferrer nofollow"'
DIRTY = {
    "<p>a<script>alert(1)</script></p>": "<p>a</p>",
    '<p><img src="x" onerror="alert(1)">b</p>': "<p>b</p>",
    '<p onclick="alert(1)">c</p>': "<p>c</p>",
    '<a href="javascript:alert(1)">d</a>': f"<a {LINK}>d</a>",
    "<p>" + "<b>" * 50_000: "<p>&lt;e&gt;</p>",  # more than may be: it is as typed
    "<script>alert(1)</script>": "<p>&lt;e&gt;</p>",
}


def test_what_a_backup_holds_as_html_is_cleaned(talk, file, bob):
    for nth in range(len(DIRTY)):
        say(talk, bob, "<e>", key=f"dirty{nth}")
    ours = Message.objects.filter(key__startswith="dirty").order_by("pk")
    for message, html in zip(ours, DIRTY, strict=True):
        Message.objects.filter(pk=message.pk).update(html=html)
    backup(file)
    assert f"Cleaned the HTML of {len(DIRTY)} messages." in restore(file, "--yes")
    assert list(ours.values_list("html", flat=True)) == list(DIRTY.values())
    assert stored.clean_all() == 0


def test_what_we_made_ourselves_is_clean(room, bob, monkeypatch):
    monkeypatch.setattr(stored, "BATCH", 2)
    for nth, body in enumerate(MARKED_UP):
        for make in (to_html, to_plain_html):
            key = f"{nth} {make.__name__}"
            write_batch([PostMessage(room.pk, bob, key, body, html=make(body))])
    looked_at = []
    assert stored.clean_all(looked_at.append) == 0
    assert sum(looked_at) == stored.count_marked_up() > len(MARKED_UP)


MARKED_UP = [
    "**a** *b* ~~c~~ `d`\n\n> e\n\n1. f\n2. g\n\n- h",
    "[x](https://example.org/ 'title') https://a.example mailto:a@b.example",
    "```python\ndef f(): return '<&>'\n```",
    "a|b\n-|-\n1|2",
    "3. three\n\n# h\n\n***\n\n&amp; < > &copy; \" '",
    "\u00a0 \u202e 😀 <b>x</b> \\* &nbsp;",
]


def test_the_epoch_is_new(talk, file):
    before = Installation.current().epoch
    backup(file)
    restore(file, "--yes")
    assert Installation.current().epoch != before


def test_ids_are_not_given_twice(talk, file, bob, node):
    """A running server knows visits and rooms by their ids."""
    backup(file)
    (coming,) = write_batch([EnterRoom(talk.pk, bob, node.pk)])
    attic = Room.objects.create_with_owner("attic", bob)
    restore(file, "--yes")
    node = Node.objects.create(name="new")
    (again,) = write_batch([EnterRoom(talk.pk, bob, node.pk)])
    assert again.visit_id > coming.visit_id
    assert Room.objects.create_with_owner("cellar", bob).pk > attic.pk


def test_who_was_here_has_left_and_servers_find_themselves_unknown(
    talk, file, alice, bob, node
):
    write_batch([EnterRoom(talk.pk, bob, node.pk)])
    a_while_ago = timezone.now() - timedelta(minutes=1)
    Visit.objects.unsettled().update(opened_at=a_while_ago)
    Node.objects.filter(pk=node.pk).update(heartbeat=a_while_ago)
    backup(file)
    later = Node.objects.create(name="later")
    write_batch([EnterRoom(talk.pk, alice, later.pk)])
    restore(file, "--yes")
    assert history.here(talk.pk) == []
    assert Head.objects.get(room=talk).here == 0
    leave = talk.events.order_by("seq").last()
    assert (leave.kind, leave.actor, leave.data["cause"]) == ("leave", bob, "lost")
    assert not node.renew()
    assert not later.renew()
    assert not Visit.objects.unsettled().exists()
    assert faults() == []


def test_a_backup_while_people_talk_ends_at_one_moment(talk, file, alice, bob):
    fill(rows=100_000)
    going = threading.Event()
    said = {alice.pk: 0, bob.pk: 0}

    def chatter(person):
        while not going.is_set():
            said[person.pk] += len(
                write_batch([PostMessage(talk.pk, person, key(), "…")] * 1)
            )
        connections.close_all()

    threads = [threading.Thread(target=chatter, args=[one]) for one in (alice, bob)]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(said.values()) > 5)
    before = sum(said.values())
    backup(file)
    meanwhile = sum(said.values()) - before
    going.set()
    for thread in threads:
        thread.join()
    everything = dict(Event.objects.values_list("pk", "seq"))
    restore(file, "--yes")
    restored = dict(Event.objects.values_list("pk", "seq"))
    assert meanwhile > 5
    assert restored.items() < everything.items()
    assert faults() == []


def key():
    return f"key-{random.getrandbits(64)}"


def fill(rows):
    """Make the database take a while. (The first table of a backup.)"""
    with connection.cursor() as cursor:
        noise = " || ".join(["md5(random()::text)"] * 4)
        cursor.execute(
            f"INSERT INTO auth_group (name) SELECT {noise}"
            f" FROM generate_series(1, {rows})"
        )


# Sessions --------------------------------------------------------------------------


def sign_in(browse, user):
    """The session, as the table knows it."""
    return Session.hash_of(browse(user).session.session_key)


def test_who_is_signed_in_stays_so(talk, file, browse, bob):
    backup(file)
    session = sign_in(browse, bob)
    restore(file, "--yes")
    assert list(Session.objects.values_list("pk", flat=True)) == [session]


def test_no_session_comes_back_and_none_is_in_the_file(talk, file, browse, bob):
    session = sign_in(browse, bob)
    backup(file)
    with zipfile.ZipFile(file) as zip_file:
        for name in zip_file.namelist():
            assert session.encode() not in zip_file.read(name)
    Session.objects.all().delete()
    restore(file, "--yes")
    assert not Session.objects.exists()


def test_another_password_or_person_ends_the_session(talk, file, browse, alice, bob):
    closed = User.objects.create_user("closed", is_active=False)
    backup(file)
    closed.is_active = True
    closed.save()
    late = User.objects.create_user("late")
    bob.set_password("new")
    bob.save()
    for person in (bob, late, closed):
        sign_in(browse, person)
    kept = sign_in(browse, alice)
    restore(file, "--yes")
    assert list(Session.objects.values_list("pk", flat=True)) == [kept]


# A dry run, and what is refused ----------------------------------------------------


def test_a_dry_run_tells_and_changes_nothing(talk, file):
    backup(file)
    change_all()
    before = contents(without=())
    words = restore(file)
    assert contents(without=()) == before
    assert "taken at" in words and "0\xa0minutes ago" in words
    assert "Nothing was changed. `--yes` does it." in words
    rows = {line.split()[0]: line.split()[1:] for line in words.splitlines() if line}
    events = next(one.rows for one in manifest(file).tables if one.name == EVENTS)
    assert rows[EVENTS] == [f"{events:,}", f"{Event.objects.count():,}"]


def manifest(file):
    with file.open("rb") as opened:
        return Archive(opened).manifest


def with_manifest(file, **changes):
    """The same backup, but it says something else of itself."""
    other = file.with_name("other")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == archive.MANIFEST:
                text = json.dumps(json.loads(text) | changes)
            new.writestr(name, text)
    return other


def test_a_backup_of_a_newer_version_is_refused(talk, file):
    future = [*manifest(backup(file)).migrations, ["rooms", "0099_tomorrow"]]
    before = contents(without=())
    for changes in ({"format": 2}, {"migrations": future}):
        newer = with_manifest(file, rollcall="9.9", **changes)
        with pytest.raises(CommandError, match=r"of a newer Rollcall \(9.9\)"):
            restore(newer, "--yes")
    assert contents(without=()) == before


def test_a_database_of_a_newer_version_is_left_alone(talk, file):
    backup(file)
    from django.db.migrations.recorder import MigrationRecorder

    recorder = MigrationRecorder(connection)
    recorder.record_applied("rooms", "0099_tomorrow")
    try:
        with pytest.raises(CommandError, match="database is of a newer Rollcall"):
            restore(file, "--yes")
        with pytest.raises(CommandError, match="database is of a newer Rollcall"):
            backup(file.with_name("another"))
    finally:
        recorder.record_unapplied("rooms", "0099_tomorrow")
    assert os.listdir(file.parent) == [file.name]


def test_what_is_no_backup_is_refused(talk, file):
    zipfile.ZipFile(file, "w").close()
    for text in (b"", b"PK", b"hello", file.read_bytes()):
        file.write_bytes(text)
        with pytest.raises(CommandError, match="no backup of a Rollcall"):
            restore(file, "--yes")
    for path, reason in ((file.parent, "directory"), (file / "x", "Not a dir")):
        with pytest.raises(CommandError, match=f"cannot be read .*{reason}"):
            restore(path, "--yes")


def read_all(text):
    opened = Archive(io.BytesIO(text))
    return {
        table.name: b"".join(opened.blocks(table)) for table in opened.manifest.tables
    }


def test_a_damaged_backup_is_seen_wherever_the_damage_is(talk, file):
    text = backup(file).read_bytes()
    whole = read_all(text)
    dice = random.Random(1)
    seen = 0
    for _nth in range(400):
        damaged = bytearray(text)
        damaged[dice.randrange(len(text))] ^= 1 << dice.randrange(8)
        try:
            # A bit of what nobody reads, such as the time of a member, does no harm.
            assert read_all(bytes(damaged)) == whole
        except Unfit:
            seen += 1
    assert seen > 300


def test_a_backup_that_was_cut_short_is_refused(talk, file):
    text = backup(file).read_bytes()
    dice = random.Random(1)
    for end in (len(text) - 1, *(dice.randrange(len(text)) for _nth in range(50))):
        with pytest.raises(Unfit):
            read_all(text[:end])


def test_damage_is_found_before_anything_is_touched(talk, file):
    backup(file)
    with zipfile.ZipFile(file) as zip_file:
        place = zip_file.getinfo("tables/rooms_visit").header_offset + 120
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(b"XXXX")
    before = contents(without=())
    with pytest.raises(CommandError, match="rooms_visit is not what was written"):
        restore(file, "--yes")
    assert contents(without=()) == before


# Versions --------------------------------------------------------------------------


@pytest.fixture
def migrate():
    """migrate(app, name): bring the database to another version; undone at the end."""
    yield lambda *target: call_command("migrate", *target, verbosity=0)
    call_command("migrate", verbosity=0)


def fill_factor():
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'rooms_head'")
        return cursor.fetchone()[0]


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    talk, file, migrate, alice, bob
):
    talk.kick(bob, by=alice, reason="noise")
    newest, before = fill_factor(), contents()
    migrate("rooms", "0001")
    assert fill_factor() != newest
    assert Event.objects.values("data").latest("pk")["data"] == {"reason": "noise"}
    backup(file)
    migrate()
    change_all()
    restore(file, "--yes")
    assert fill_factor() == newest
    assert tables.Schema.here().is_newest
    changed = {"rooms_installation", "django_migrations"}
    after = contents()
    assert {name for name in before if before[name] != after[name]} == changed
    assert faults() == []


def test_a_database_of_an_older_version_takes_a_backup(talk, file, migrate, browse):
    before = contents()
    newest = fill_factor()
    backup(file)
    migrate("rooms", "0001")
    restore(file, "--yes")
    assert fill_factor() == newest
    changed = {"rooms_installation", "django_migrations"}
    after = contents()
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.fixture
def empty_database():
    """The address of a database without a table."""
    server = connection.settings_dict
    place = {"host": server["HOST"], "user": server["USER"]}
    with psycopg.connect(**place, dbname="postgres", autocommit=True) as other:
        other.execute("CREATE DATABASE another")
        yield f"postgres://{server['USER']}@/another?host={server['HOST']}"
        other.execute("DROP DATABASE another WITH (FORCE)")


def test_an_empty_database_takes_a_backup(talk, file, empty_database):
    backup(file)
    environment = {"DATABASE_URL": empty_database}
    process = manage("restore", file, "--yes", environment=environment)
    out, _none = process.communicate(timeout=60)
    assert process.returncode == 0, out
    process = manage("check_log", environment=environment)
    out, _none = process.communicate(timeout=60)
    assert f"{Event.objects.count():,} events · 0 faults" in out
    process = manage("migrate", "--check", environment=environment)
    out, _none = process.communicate(timeout=60)
    assert process.returncode == 0, out


def test_an_empty_database_has_no_backup(file, empty_database):
    process = manage("backup", file, environment={"DATABASE_URL": empty_database})
    out, _none = process.communicate(timeout=60)
    assert out == "CommandError: The database is empty: there is nothing to back up.\n"
    assert process.returncode == 1
    assert not os.listdir(file.parent)


# The file ----------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(talk, file):
    old = os.umask(0)
    try:
        backup(file)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == [file.name]


def test_nothing_is_overwritten(talk, file):
    part = file.with_name(f"{file.name}.part")
    for taken, reason in ((file, "is there already"), (part, "another backup")):
        taken.write_text("precious")
        with pytest.raises(CommandError, match=reason):
            backup(file)
        assert taken.read_text() == "precious"
        taken.unlink()
    assert not os.listdir(file.parent)


def test_a_folder_that_is_none_is_told(talk, file):
    for path in (file.parent / "no" / "chat.backup", "/proc/chat.backup"):
        with pytest.raises(CommandError, match="cannot be written"):
            backup(path)


def test_a_full_disk_is_told_and_leaves_nothing(talk, file):
    fill(rows=10_000)
    limit = (200_000, 200_000)  # bytes
    process = manage(
        "backup",
        file,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    out, _none = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.startswith(f"CommandError: There is no room for {file}")
    assert "Traceback" not in out
    assert not os.listdir(file.parent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_in_the_middle_leaves_nothing(talk, file, number):
    fill(rows=200_000)
    part = file.with_name(f"{file.name}.part")
    process = manage("backup", file)
    wait_until(lambda: part.exists() and part.stat().st_size > 100_000)
    process.send_signal(number)
    out, _none = process.communicate(timeout=20)
    assert process.returncode == 128 + number, out
    assert "Traceback" not in out
    assert not os.listdir(file.parent)


def test_an_end_in_the_middle_of_a_restore_changes_nothing(talk, file):
    fill(rows=200_000)
    backup(file)
    change_all()
    before = contents(without=())
    process = manage("restore", file, "--yes")
    wait_until(is_loading, seconds=30)
    process.send_signal(signal.SIGINT)
    out, _none = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT, out
    assert contents(without=()) == before


def is_loading():
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(tuples_processed) FROM pg_stat_progress_copy")
        return (cursor.fetchone()[0] or 0) > 1000


def test_a_restore_waits_for_nobody_for_ever(talk, file, monkeypatch):
    backup(file)
    monkeypatch.setattr(tables, "LOCK_WITHIN", "200ms")
    before = contents(without=())
    server = connection.settings_dict
    place = {"host": server["HOST"], "user": server["USER"], "dbname": server["NAME"]}
    with psycopg.connect(**place) as other:
        other.execute("LOCK TABLE rooms_head IN ACCESS SHARE MODE")
        with pytest.raises(CommandError, match="Somebody else holds the tables"):
            restore(file, "--yes")
    assert contents(without=()) == before


def test_uploads_would_need_a_place_in_the_backup():
    """There are none yet. Who adds them has `backup` and `restore` take them along."""
    assert not settings.MEDIA_ROOT
