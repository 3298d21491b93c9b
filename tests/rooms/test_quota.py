"""One person makes so many rooms in 24 hours, whatever door they take."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F

from accounts.models import User
from rooms.models import Event, Room
from rooms.rights import Refused
from tests.support.fixtures import make_person
from tests.support.threads import at_once, wait_for_locks


@pytest.fixture(autouse=True)
def three_a_day(settings):
    settings.ROOMS_PER_DAY = 3


def make(person, *names):
    for name in names:
        Room.objects.create_with_owner(name, person)


def pass_time(**span):
    """Whatever happened did so earlier by that."""
    Event.objects.update(at=F("at") - timedelta(**span))


def text(answer):
    return re.sub(r"\s+", " ", answer.content.decode())


def test_the_form_says_when_one_can_make_another(alice, browse):
    client = browse(alice)
    for name in ("one", "two", "three"):
        assert client.post("/rooms/new/", {"name": name}).status_code == 302
    answer = client.post("/rooms/new/", {"name": "four"})
    assert answer.status_code == 422
    assert "You’ve created 3 rooms in 24 hours, which is the limit." in text(answer)
    assert "You can create another in 24 hours." in text(answer)
    assert 'value="four"' in text(answer)
    assert Room.objects.count() == 3


def test_a_day_after_the_first_one_can_make_another(alice):
    make(alice, "one")
    pass_time(hours=20)
    make(alice, "two", "three")
    with pytest.raises(Refused, match="another in 4 hours"):
        make(alice, "four")
    pass_time(hours=3, minutes=30)
    with pytest.raises(Refused, match="another in 1 hour"):
        make(alice, "four")
    pass_time(hours=1)
    make(alice, "four")
    with pytest.raises(Refused, match="another in 20 hours"):
        make(alice, "five")


def test_everybody_has_a_number_of_their_own(alice, bob):
    make(alice, "one", "two", "three")
    make(bob, "four", "five", "six")
    with pytest.raises(Refused):
        make(bob, "seven")


def test_joining_rooms_is_not_making_them(alice, bob):
    make(alice, "one", "two", "three")
    for room in Room.objects.all():
        room.admit(bob)
    make(bob, "four", "five", "six")


def test_giving_a_room_away_gives_no_other(room, alice, bob):
    make(alice, "two", "three")
    room.give_role(bob, "owner", by=alice)
    room.part(alice)
    with pytest.raises(Refused):
        make(alice, "four")


def test_deleting_a_room_makes_no_place_for_another(alice):
    make(alice, "one", "two", "three")
    Room.objects.get(slug="two").delete_room(by=alice)
    with pytest.raises(Refused):
        make(alice, "four")


def test_a_refused_name_is_not_counted(room, alice, browse):
    for _nth in range(4):
        assert browse(alice).post("/rooms/new/", {"name": "lobby"}).status_code == 422
    make(alice, "two", "three")


def test_a_superuser_makes_as_many_as_they_like(admin, browse):
    for nth in range(5):
        answer = browse(admin).post("/rooms/new/", {"name": f"room-{nth}"})
        assert answer.status_code == 302


def test_staff_are_bound_in_the_admin_too(db, browse):
    staff = make_person("stan", is_staff=True)
    permissions = Permission.objects.filter(codename__in=["add_room", "view_room"])
    staff.user_permissions.set(permissions)
    make(staff, "one", "two", "three")
    answer = browse(staff).post(
        "/admin/rooms/room/add/", {"name": "four", "topic": ""}, follow=True
    )
    assert "You can create another in 24 hours." in text(answer)
    assert Room.objects.count() == 3


def test_an_operator_makes_more_for_anybody(alice):
    for nth in range(5):
        call_command("create_room", f"room-{nth}", "--owner", "alice", verbosity=0)
    assert Room.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_of_two_requests_at_once_one_is_the_last():
    """Both have come as far as the lock when either goes on."""
    alice = make_person("alice")
    make(alice, "one", "two")
    answers = {}

    def make_one(name):
        try:
            make(alice, name)
            answers[name] = "made"
        except Refused as refused:
            answers[name] = refused.code

    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=alice.pk)
        threads = at_once(make_one, "three", "four")
        wait_for_locks(2)
    for thread in threads:
        thread.join(20)
    assert sorted(answers.values()) == ["made", "too_many_rooms"]
    assert Room.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_who_only_says_something(room, alice):
    """The lock on the person's row is none that a new row about them waits for."""
    done = []
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=alice.pk)
        (thread,) = at_once(lambda room: done.append(room.set_topic("x", alice)), room)
        thread.join(5)
        assert done
    thread.join(20)


def test_an_index_finds_the_rooms_made(alice):
    made = Event.objects.filter(seq=1, actor=alice).order_by("-at")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    assert "Index Scan using rooms_made" in made[2:3].explain()
