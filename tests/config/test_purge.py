"""`manage.py purge`: what is forgotten, and that the logs stay whole."""

import io
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Session
from accounts.security_record import SecurityRecord
from messaging.models import Message
from messaging.writing.requests import EnterRoom, write_batch
from rooms.models import Event, Head, Membership, Node, Room, Visit
from rooms.models.room import RoomQuerySet
from rooms.purging import claim, remove
from rooms.rights import Refused
from tests.config.test_backup import contents, faults, sign_in
from tests.conftest import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def talk(room):
    call_command("seed_demo", days=2, messages=20, stdout=io.StringIO())
    return room


def purge(*options):
    out = io.StringIO()
    call_command("purge", *options, stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def past(talk, bob, node, browse):
    """An old visit and one that is not over, of old servers; and two sign-ins."""
    long_ago = timezone.now() - timedelta(days=100)
    write_batch([EnterRoom(talk.pk, bob, node.pk)])
    Visit.objects.filter(node=node).update(opened_at=long_ago)
    Visit.objects.filter(settled=True, room=talk).update(closed_at=timezone.now())
    old = Visit.objects.filter(settled=True).exclude(room=talk)
    old.update(opened_at=long_ago, closed_at=long_ago)
    Node.objects.create(name="unvisited", stopped_at=long_ago)
    kept, ended = sign_in(browse, bob), sign_in(browse, bob)
    Session.objects.filter(pk=ended).update(expire_date=long_ago)
    SecurityRecord.objects.filter(pk=SecurityRecord.objects.first().pk).update(
        at=long_ago
    )
    return old.count(), kept


def test_a_dry_purge_tells_and_changes_nothing(past):
    count, _session = past
    before = contents(without=())
    assert purge() == [
        f"{count:,} visits older than 90 days",
        "1 server processes without visits",
        "1 sign-ins that have run out",
        "1 security records older than 90 days",
        "0 rooms deleted more than 30 days ago, with 0 events",
        "Nothing was changed. `--yes` does it.",
    ]
    assert contents(without=()) == before


def test_a_purge_forgets_what_is_past_and_leaves_the_logs_whole(past, monkeypatch):
    count, session = past
    monkeypatch.setattr("rooms.purging.AT_ONCE", 7)
    before, visits = contents(), Visit.objects.count()
    assert count > 14
    purge("--yes")
    after = contents()
    changed = {"rooms_visit", "rooms_node", "accounts_securityrecord"}
    assert {name for name in before if before[name] != after[name]} == changed
    assert Visit.objects.count() == visits - count
    assert Visit.objects.unsettled().count() == 1
    assert list(Session.objects.values_list("pk", flat=True)) == [session]
    assert faults() == []


@pytest.mark.parametrize(("days", "left"), [(99, 0), (101, 1)])
def test_visits_are_kept_as_many_days_as_one_says(past, days, left):
    count, _session = past
    purge("--days", days, "--yes")
    long_ago = timezone.now() - timedelta(days=99)
    found = Visit.objects.filter(settled=True, closed_at__lt=long_ago).count()
    assert found == left * count


# Rooms -----------------------------------------------------------------------------


@pytest.fixture
def deleted(talk, admin):
    """delete(slug, days): a room was deleted so many days ago."""

    def delete(slug, days):
        room = Room.objects.get(slug=slug)
        room.delete_room(admin)
        moment = timezone.now() - timedelta(days=days)
        Room.everything.filter(pk=room.pk).update(deleted_at=moment)
        return room

    return delete


def rooms_told(lines):
    return [line for line in lines if " rooms deleted " in line]


@pytest.mark.parametrize("at_once", [7, 10_000])
def test_a_room_deleted_a_month_ago_is_removed_and_no_other(
    deleted, alice, at_once, monkeypatch
):
    monkeypatch.setattr("rooms.purging.AT_ONCE", at_once)
    old, young = deleted("design", 31), deleted("garden", 29)
    lines = old.events.count()
    told = f"1 rooms deleted more than 30 days ago, with {lines:,} events"
    assert rooms_told(purge()) == [told]
    before = contents()
    assert old.visits.count() and Message.objects.filter(event__room=old).count() > 14
    assert rooms_told(purge("--yes")) == [told]
    for model in (Event, Membership, Visit, Head):
        assert not model.objects.filter(room_id=old.pk).exists()
        assert model.objects.filter(room_id=young.pk).exists()
    counts = {name: count for name, (count, _hash) in contents().items()}
    assert counts["rooms_room"] == before["rooms_room"][0] - 1
    assert counts["rooms_event"] == before["rooms_event"][0] - lines
    assert Message.objects.count() == Event.objects.filter(kind="message").count()
    assert faults() == []
    assert Room.objects.create_with_owner("design", alice)  # the name is free again


def test_a_purge_that_breaks_off_goes_on_the_next_night(
    deleted, admin, browse, monkeypatch
):
    monkeypatch.setattr("rooms.purging.AT_ONCE", 7)
    room = deleted("design", 31)
    assert claim(room)
    next(remove(room))
    assert faults() == []  # nobody is alarmed by a room that is half removed
    assert room.events.exists()
    with pytest.raises(Refused, match="This room no longer exists"):
        room.recover_room(admin)
    page = browse(admin).get("/admin/rooms/room/").content.decode()
    assert "garden" in page and "design" not in page
    purge("--yes")
    assert not Room.everything.filter(slug="design").exists()
    assert not Event.objects.filter(room_id=room.pk).exists()


def test_a_room_that_was_brought_back_just_now_is_left(deleted, admin, monkeypatch):
    """The admin is quicker than the purge, which has seen the room as it was."""
    room = deleted("design", 31)
    due = RoomQuerySet.due

    def due_then_back(rooms):
        found = list(due(rooms).filter(pk=room.pk))
        monkeypatch.setattr(RoomQuerySet, "due", due)
        for each in found:
            each.recover_room(admin)
        return rooms.filter(pk=room.pk)

    monkeypatch.setattr(RoomQuerySet, "due", due_then_back)
    assert "design is left: it is back, or in use." in purge("--yes")
    assert Head.objects.get(room=room).seq == room.events.latest("seq").seq
    assert faults() == []


def test_a_room_that_somebody_holds_waits_for_the_next_night(deleted, monkeypatch):
    monkeypatch.setattr("rooms.purging.LOCK_WITHIN", "100ms")
    room, other = deleted("design", 31), deleted("garden", 31)
    with locked_by_another(room.pk):
        assert "design is left: it is back, or in use." in purge("--yes")
    assert room.events.exists()
    assert not Room.everything.filter(pk=other.pk).exists()


@contextmanager
def locked_by_another(room_id):
    with psycopg.connect(database_url()) as other:
        other.execute("SELECT FROM rooms_head WHERE room_id = %s FOR UPDATE", [room_id])
        yield


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_days_out_of_reach_are_refused(db, days):
    with pytest.raises(CommandError, match="--days is 1 to"):
        purge("--days", days)
