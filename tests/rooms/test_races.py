"""Two verbs of a room at once: whichever comes first, the other sees what it did.

Both wait for the room's lock before either goes on, so both have read what was before.
"""

import pytest

from rooms.models import Room
from rooms.models.log import writing
from rooms.rights import Refused, Role
from tests.support.threads import at_once, wait_for_locks

pytestmark = pytest.mark.django_db(transaction=True)


def together(room, **verbs):
    """Do `verb(room)` for each, all at once. {name: "done", or its refusal's code}.

    Each has a room object of its own, read before any of them began.
    """
    rooms = {name: Room.objects.get(pk=room.pk) for name in verbs}
    outcomes = {}

    def run(name):
        try:
            verbs[name](rooms[name])
            outcomes[name] = "done"
        except Refused as refused:
            outcomes[name] = refused.code

    with writing(room.pk):
        threads = at_once(run, *verbs)
        wait_for_locks(len(verbs))
    for thread in threads:
        thread.join(20)
    room.refresh_from_db(from_queryset=Room.everything.all())
    return outcomes


def kinds(room, since):
    events = room.events.filter(seq__gt=since).order_by("seq")
    return list(events.values_list("kind", flat=True))


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("topic", lambda room, by: room.set_topic("News", by)),
        ("clear", lambda room, by: room.clear(by)),
    ],
)
def test_nothing_slips_into_an_archived_room(kind, act, room, alice, carol):
    found = together(
        room,
        archive=lambda room: room.archive(alice),
        act=lambda room: act(room, carol),
    )
    order = kinds(room, since=4)
    expected = "done" if order == [kind, "archive"] else "archived"
    assert found == {"archive": "done", "act": expected}
    assert order in ([kind, "archive"], ["archive"])


def test_nobody_joins_while_a_room_is_archived(room, alice, stranger):
    found = together(
        room,
        archive=lambda room: room.archive(alice),
        join=lambda room: room.admit(stranger),
    )
    order = kinds(room, since=4)
    assert found["join"] == ("done" if "join" in order else "archived")
    assert order in (["join", "archive"], ["archive"])
    assert bool(room.role_of(stranger)) == ("join" in order)


def test_nobody_joins_while_a_room_is_deleted(room, alice, stranger):
    found = together(
        room,
        delete=lambda room: room.delete_room(alice),
        join=lambda room: room.admit(stranger),
    )
    log = Room.everything.get(pk=room.pk)
    order = kinds(log, since=4)
    assert found["join"] == ("done" if "join" in order else "not_allowed")
    assert order in (["join", "delete_room"], ["delete_room"])


def test_of_two_archivings_one_is_written(room, alice, admin):
    found = together(
        room,
        one=lambda room: room.archive(alice),
        two=lambda room: room.archive(admin),
    )
    assert set(found.values()) == {"done"}
    assert kinds(room, since=4) == ["archive"]


def test_two_who_remove_the_same_person_remove_them_once(room, alice, bob, carol):
    found = together(
        room,
        one=lambda room: room.kick(bob, alice),
        two=lambda room: room.kick(bob, carol),
    )
    assert sorted(found.values()) == ["bad_field", "done"]
    assert kinds(room, since=4) == ["kick"]


def test_who_is_demoted_just_then_removes_nobody(room, alice, bob, carol):
    found = together(
        room,
        demote=lambda room: room.give_role(carol, Role.MEMBER, by=alice),
        kick=lambda room: room.kick(bob, carol),
    )
    order = kinds(room, since=4)
    assert found["kick"] == ("done" if order == ["kick", "role"] else "not_allowed")
    assert order in (["kick", "role"], ["role"])


def test_of_two_owners_who_leave_at_once_one_stays(room, alice, bob):
    room.give_role(bob, Role.OWNER, by=alice)
    found = together(
        room,
        alice=lambda room: room.part(alice),
        bob=lambda room: room.part(bob),
    )
    assert sorted(found.values()) == ["done", "not_allowed"]
    assert room.memberships.filter(role=Role.OWNER).count() == 1


def test_of_two_clears_taken_back_at_once_one_is(room, alice, carol):
    clear = room.clear(alice)
    found = together(
        room,
        one=lambda room: room.restore(clear.seq, alice),
        two=lambda room: room.restore(clear.seq, carol),
    )
    assert sorted(found.values()) == ["bad_field", "done"]
    assert room.floor == 1


def test_one_person_joins_once(room, stranger):
    found = together(
        room,
        one=lambda room: room.admit(stranger),
        two=lambda room: room.admit(stranger),
    )
    assert set(found.values()) == {"done"}
    assert kinds(room, since=4) == ["join"]
