"""A deleted room is hidden from everybody; its log stays, and an admin can undo it."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import history
from messaging.writing.requests import EnterRoom, PostMessage, write_batch
from rooms.models import Head, Room, Visit
from rooms.rights import Refused, Role
from tests.config.test_backup import faults
from tests.rooms.test_rights import AS_JSON


def say(room, user, body="hello"):
    (outcome,) = write_batch(
        [PostMessage(room.pk, user, f"{user}-{room.events.count()}", body)]
    )
    return outcome


def delete(browser, room):
    return browser.post(f"/rooms/{room.slug}/delete/", **AS_JSON)


def test_its_owner_deletes_what_only_they_wrote_in(room, alice, browse):
    say(room, alice)
    answer = delete(browse(alice), room)
    assert answer.json() == {"seq": 6}
    event = room.events.get(seq=6)
    assert (event.kind, event.actor) == ("delete_room", alice)
    assert Room.everything.get(pk=room.pk).deleted_at == event.at


@pytest.mark.parametrize("is_cleared", [False, True])
def test_words_of_others_keep_a_room_from_its_owner(
    is_cleared, room, alice, bob, admin, browse
):
    say(room, bob)
    if is_cleared:
        room.clear(by=alice)
    head = room.events.count()
    answer = delete(browse(alice), room)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert answer.json()["detail"].startswith("Other people have written here")
    assert room.events.count() == head
    assert delete(browse(admin), room).status_code == 200


def test_one_owner_does_not_delete_the_words_of_another(room, alice, bob):
    room.give_role(bob, Role.OWNER, by=alice)
    say(room, alice)
    with pytest.raises(Refused, match="Other people have written"):
        room.delete_room(bob)
    room.delete_room(alice)


def test_a_former_admin_is_asked_as_they_are_now(room, alice, bob, admin):
    say(room, bob)
    room.admit(admin)
    room.give_role(admin, Role.OWNER, by=alice)
    type(admin).objects.filter(pk=admin.pk).update(is_superuser=False)
    assert admin.is_superuser
    with pytest.raises(Refused, match="Other people have written"):
        room.delete_room(admin)


def test_no_door_leads_to_a_deleted_room(room, alice, bob, node, browse):
    client, lobby = browse(alice), "/rooms/lobby/"
    assert client.get(lobby).status_code == 200
    assert 'data-room="lobby"' in client.get("/rooms/").content.decode()
    other = Room.objects.create_with_owner("other", alice)
    assert 'data-room="lobby"' in client.get("/rooms/other/").content.decode()
    room.delete_room(alice)
    for address in (lobby, f"{lobby}log/"):
        assert client.get(address).status_code == 404
    for address in ("/rooms/", other.get_absolute_url()):
        assert 'data-room="lobby"' not in client.get(address).content.decode()
    assert client.get("/", follow=True).redirect_chain[-1][0] != lobby
    for act in ("join", "leave", "kick", "topic", "clear", "restore", "role", "delete"):
        answer = client.post(f"{lobby}{act}/", {"user": "bob", "seq": 1}, **AS_JSON)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_room")
    for request in (
        PostMessage(room.pk, bob, "key", "hi"),
        EnterRoom(room.pk, bob, node.pk),
    ):
        (outcome,) = write_batch([request])
        assert outcome.code == "not_allowed"
    with pytest.raises(Room.DoesNotExist):
        history.opening(room.pk)


VERBS = [
    lambda room, by, other: room.admit(other),
    lambda room, by, other: room.part(other),
    lambda room, by, other: room.kick(other, by),
    lambda room, by, other: room.give_role(other, Role.MODERATOR, by),
    lambda room, by, other: room.set_topic("News", by),
    lambda room, by, other: room.clear(by),
    lambda room, by, other: room.archive(by),
    lambda room, by, other: room.delete_room(by),
]


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_happens_in_a_deleted_room(verb, room, admin, bob):
    head = room.delete_room(admin).seq
    with pytest.raises(Refused, match="This room no longer exists"):
        verb(room, admin, bob)
    assert Head.objects.get(room=room).seq == head


def test_its_name_stays_taken(room, alice, browse):
    room.delete_room(alice)
    answer = browse(alice).post("/rooms/new/", {"name": "LOBBY"})
    assert answer.status_code == 422
    assert "There’s already a room with this name." in answer.content.decode()


def test_who_was_there_has_left_and_nobody_is_counted(room, alice, bob, carol, node):
    write_batch([EnterRoom(room.pk, one, node.pk) for one in (bob, carol, bob)])
    room.delete_room(alice)
    said = [(event.kind, event.data) for event in room.events.order_by("-seq")[:3]]
    assert sorted(kind for kind, _data in said) == ["delete_room", "leave", "leave"]
    assert {data.get("cause") for _kind, data in said} == {"deleted", None}
    assert not Visit.objects.unsettled().exists()
    assert history.present_counts([room.slug]) == {}
    assert faults() == []


def test_to_put_many_out_takes_as_many_statements_as_one(room, alice, bob, node):
    def statements(people):
        write_batch([EnterRoom(room.pk, one, node.pk) for one in people])
        with CaptureQueriesContext(connection) as captured:
            room.delete_room(alice)
        Room.everything.update(deleted_at=None)
        return len(captured)

    carols = [type(bob).objects.create_user(f"carol-{nth}") for nth in range(20)]
    for one in carols:
        room.admit(one)
    assert statements([bob]) == statements(carols)


def test_an_admin_brings_it_back_as_it_was(room, alice, bob, admin, browse):
    say(room, bob)
    room.delete_room(admin)
    with pytest.raises(Refused, match="You don’t have permission to do that here"):
        room.recover_room(alice)
    event = room.recover_room(admin)
    assert (event.kind, event.actor) == ("recover_room", admin)
    assert room.recover_room(admin) is None
    assert room.role_of(bob)
    events = browse(bob).get("/rooms/lobby/log/").json()["events"]
    assert [event["kind"] for event in events][-2:] == ["delete_room", "recover_room"]
    assert say(room, bob) == event.seq + 1
    assert faults() == []
