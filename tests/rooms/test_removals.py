"""A kick keeps its target out of that room for a while, whatever door they take."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from rooms.models import Event, Room
from rooms.removals import removal_of
from rooms.rights import Refused, Role
from tests.rooms.test_races import kinds, together

AS_JSON = {"headers": {"Accept": "application/json"}}


def pass_time(**span):
    """Whatever happened did so earlier by that."""
    Event.objects.update(at=F("at") - timedelta(**span))


def text(answer):
    return re.sub(r"\s+", " ", answer.content.decode())


@pytest.fixture
def removed(room, alice, bob):
    """The lobby, from which alice has just removed bob."""
    room.kick(bob, by=alice, reason="spam")
    return room


TOLD = "You were removed from this room by alice: “spam”."


def test_whoever_was_removed_is_told_when_they_can_join_again(removed, bob, browse):
    answer = browse(bob).post("/rooms/lobby/join/", **AS_JSON)
    assert (answer.status_code, answer.json()["code"]) == (403, "removed")
    detail = f"{TOLD} You can join again in 10 minutes."
    assert answer.json()["detail"] == detail
    assert removed.role_of(bob) is None
    assert removed.events.latest("seq").kind == "kick"


def test_the_page_says_so_once_and_offers_no_button(removed, bob, stranger, browse):
    client = browse(bob)
    for answer in (
        client.get("/rooms/lobby/"),
        client.post("/rooms/lobby/join/", follow=True),
    ):
        assert text(answer).count("You were removed") == 1
        assert "You can join again in 10 minutes." in text(answer)
        assert "/join/" not in text(answer)
    other = text(browse(stranger).get("/rooms/lobby/"))
    assert "/join/" in other
    assert "removed" not in other


def test_without_a_reason_only_the_name_is_told(room, alice, bob):
    room.kick(bob, by=alice)
    told = str(removal_of(bob, room))
    assert told.startswith("You were removed from this room by alice. You can")


@pytest.mark.parametrize(
    ("passed", "left"),
    [(61, "9 minutes"), (541, "1 minute"), (599, "1 minute"), (601, None)],
)
def test_it_ends_ten_minutes_after_the_kick(passed, left, removed, bob, browse):
    pass_time(seconds=passed)
    answer = browse(bob).post("/rooms/lobby/join/", **AS_JSON)
    if left:
        assert answer.json()["detail"].endswith(f" in {left}.")
    else:
        assert answer.json() == {"seq": 6}
        assert removed.role_of(bob) == Role.MEMBER


def test_the_operator_says_for_how_long(removed, bob, settings):
    settings.KICK_SECONDS = 3600
    pass_time(minutes=30)
    with pytest.raises(Refused, match="in 30 minutes"):
        removed.admit(bob)
    settings.KICK_SECONDS = 1800
    removed.admit(bob)


def test_it_counts_from_the_last_kick(removed, alice, bob):
    pass_time(minutes=11)
    removed.admit(bob)
    removed.kick(bob, by=alice)
    with pytest.raises(Refused, match="in 10 minutes"):
        removed.admit(bob)


def test_it_holds_for_that_person_and_that_room_alone(removed, alice, bob, carol):
    other = Room.objects.create_with_owner("other", alice)
    other.admit(bob)
    removed.part(carol)
    removed.admit(carol)
    assert removal_of(bob, removed)
    assert removal_of(alice, removed) is None  # who did it


def test_a_kick_and_a_join_at_once(db, transactional_db, room, alice, bob):
    """bob cannot be back by the join he sent before the kick."""
    found = together(
        room,
        kick=lambda room: room.kick(bob, alice),
        join=lambda room: room.admit(bob),
    )
    assert found["kick"] == "done"
    # First, he was a member still; second, he was removed.
    assert found["join"] in ("done", "removed")
    assert kinds(room, since=4) == ["kick"]
    assert room.role_of(bob) is None


def test_an_index_finds_the_kick(removed, bob):
    kicks = removed.events.filter(kind=Event.Kind.KICK, target=bob).order_by("-seq")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    plan = kicks[:1].explain()
    assert "Index Scan using kicks" in plan
