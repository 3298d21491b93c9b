"""The admin of rooms: to look, and to mend by the verbs that the page uses."""

import re

import pytest
from django.contrib import admin as site
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from messaging.writing.requests import EnterRoom, ExitRoom, PostMessage, write_batch
from rooms.forms import RoomNameField
from rooms.models import Event, Head, Membership, Node, Room, Visit
from rooms.models.attendance import Cause
from rooms.rights import Role
from tests.support.fixtures import make_person

MODELS = {
    "room": Room,
    "membership": Membership,
    "event": Event,
    "visit": Visit,
    "node": Node,
}
SECRET = "zwieback"  # what was said


def at(model, *rest):
    return "/".join(["/admin/rooms", model, *map(str, rest), ""])


def text(answer):
    return answer.content.decode()


@pytest.fixture
def desk(admin, browse):
    """The browser of a superuser, who is no member of the room."""
    return browse(admin)


@pytest.fixture
def talk(room, alice, bob, node):
    """bob was in the lobby and talked; alice is there."""
    (entry, _other) = write_batch(
        [EnterRoom(room.pk, bob, node.pk), EnterRoom(room.pk, alice, node.pk)]
    )
    write_batch([PostMessage(room.pk, bob, "key", f"/me {SECRET} **{SECRET}**")])
    write_batch([ExitRoom(room.pk, entry.visit_id, Cause.SIGNED_OUT)])
    return room


@pytest.fixture
def do(desk):
    """do(action, row, …): the action of the admin, done to rows; what it tells."""

    def do(action, *rows, client=desk, **fields):
        answer = client.post(
            at(rows[0]._meta.model_name),
            {"action": action, "_selected_action": [row.pk for row in rows], **fields},
            follow=True,
        )
        assert answer.status_code == 200
        return [str(message) for message in answer.context["messages"]]

    return do


def last(room):
    return room.events.latest("seq")


def membership(room, person):
    return room.memberships.get(user=person)


# Looking ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_all_pages_are_shown(model, talk, desk):
    row = MODELS[model].objects.first()
    assert at(model) in text(desk.get("/admin/"))
    assert at(model) in text(desk.get("/admin/rooms/"))
    assert at(model, row.pk, "change") in text(desk.get(at(model)))
    assert str(row) in text(desk.get(at(model, row.pk, "change")))
    assert desk.get(at(model, row.pk, "history")).status_code == 200
    expected = 200 if model == "room" else 403
    assert desk.get(at(model, "add")).status_code == expected
    assert desk.get(at(model, row.pk, "delete")).status_code == 403
    assert desk.get(at(model, 987_654, "change")).status_code == 302


@pytest.mark.parametrize("model", MODELS)
def test_odd_questions_are_answered(model, talk, desk):
    for query in (
        {"q": "lobby"},
        {"q": "LOBBY"},
        {"q": "x" * 5_000},
        {"q": "a\0b"},
        {"q": "'; --"},
        {"o": "99.-1.x"},
        {"kind__exact": "message"},
        {"nosuch": "1"},
        {"_facets": "True"},
    ):
        answer = desk.get(at(model), query, follow=True)
        assert answer.status_code == 200, query


def test_what_was_said_is_nowhere_in_the_admin(talk, alice, bob, desk, browse):
    assert SECRET in text(browse(alice).get("/rooms/lobby/"))
    event = talk.events.get(kind="message")
    addresses = [at("event"), at("event", event.pk, "change")]
    addresses += [f"{at('event')}?q=lobby", f"{at('event')}?kind__exact=message"]
    addresses += [at("event", event.pk, "history"), at("room", talk.pk, "change")]
    addresses += [at("room", talk.pk, "history"), at("visit"), at("membership")]
    addresses += [f"/admin/accounts/user/{bob.pk}/change/", "/admin/"]
    for address in addresses:
        answer = desk.get(address)
        assert answer.status_code == 200, address
        assert SECRET not in text(answer), address
    assert desk.get("/admin/messaging/message/").status_code == 404
    assert "0 events" in text(desk.get(at("event"), {"q": SECRET}))


def test_a_room_shows_how_full_and_how_old_it_is(talk, desk):
    page = text(desk.get(at("room")))
    assert re.search(r'field-people_here">1<', page)
    assert re.search(rf'field-events">{last(talk).seq}<', page)
    page = text(desk.get(at("room", talk.pk, "change")))
    assert "Show them" in page  # the members


def test_events_and_visits_are_found_by_the_exact_room(talk, alice, desk):
    Room.objects.create_with_owner("lobby-two", alice)
    page = text(desk.get(at("event"), {"q": "LOBBY"}))
    assert "lobby</td>" in page
    assert "lobby-two" not in page
    assert "lobby-two" in text(desk.get(at("event")))
    assert "bob" in text(desk.get(at("visit"), {"q": "bob"}))
    assert "0 visits" in text(desk.get(at("visit"), {"q": "bo"}))


# The pages of a large table --------------------------------------------------------


@pytest.fixture
def long_log(talk, alice, monkeypatch):
    """34 events, ten on a page of the admin."""
    for nth in range(34 - last(talk).seq):
        talk.set_topic(f"News {nth}", alice)
    assert Event.objects.count() == 34
    monkeypatch.setattr(site.site._registry[Event], "list_per_page", 10)
    return talk


def numbers(answer):
    return [int(seq) for seq in re.findall(r'field-seq"><a [^>]+>(\d+)<', text(answer))]


def test_all_pages_together_are_the_whole_log(long_log, desk):
    found = []
    for page in (1, 2, 3, 4):
        answer = desk.get(at("event"), {"p": page})
        assert answer.status_code == 200
        found.append(numbers(answer))
        assert (f"?p={page + 1}" in text(answer)) == (page < 4)
    assert [len(page) for page in found] == [10, 10, 10, 4]
    assert sum(found, []) == list(range(34, 0, -1))


@pytest.mark.parametrize(
    "page", ["0", "-1", "5", "6", "999999", "1000000", "9" * 5_000, "x", "", "1.5", "²"]
)
def test_an_absurd_page_is_no_fault(page, long_log, desk):
    answer = desk.get(at("event"), {"p": page}, follow=True)
    assert answer.status_code == 200
    assert numbers(answer) in ([], list(range(34, 24, -1)))


def test_the_whole_of_a_large_table_is_not_on_one_page(long_log, desk):
    for query in ({"all": ""}, {"all": "", "p": "2"}):
        answer = desk.get(at("event"), query, follow=True)
        assert answer.status_code == 200
        assert len(numbers(answer)) <= 10


@pytest.mark.parametrize("query", ["", "?p=2", "?p=999", "?_facets=True", "?q=lobby"])
@pytest.mark.parametrize("model", ["event", "visit"])
def test_a_large_table_is_not_counted(model, query, long_log, desk):
    with CaptureQueriesContext(connection) as captured:
        assert desk.get(at(model) + query).status_code in (200, 302)
    asked = [each["sql"] for each in captured.captured_queries]
    assert any(f'FROM "rooms_{model}"' in sql for sql in asked)
    assert not [sql for sql in asked if "COUNT(" in sql.upper()]


def test_a_page_of_events_takes_as_many_queries_as_one_event(talk, alice, desk):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            desk.get(at("event"))
        return len(captured)

    Event.objects.filter(seq__gt=1).delete()
    desk.get(at("event"))
    few = queries()
    Head.objects.update(seq=1, here=0)
    for nth in range(40):
        talk.set_topic(f"News {nth}", alice)
    assert queries() == few == 5


def count_queries(client, address):
    client.get(address)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    assert not [one for one in captured if "COUNT(" in one["sql"].upper()]
    return len(captured)


def add_members(room, count):
    """The next so many."""
    start = User.objects.count()
    people = User.objects.bulk_create(
        User(username=f"member-{start + nth}", password="!") for nth in range(count)
    )
    Membership.objects.bulk_create(Membership(room=room, user=one) for one in people)


def test_a_room_opens_however_many_members_it_has(talk, desk):
    pages = [at("room", talk.pk, "change"), at("membership")]
    few = [count_queries(desk, page) for page in pages]
    add_members(talk, 10_000)
    assert [count_queries(desk, page) for page in pages] == few
    page = text(desk.get(pages[0]))
    assert len(page) < 50_000
    link = re.search(r'href="(/admin/rooms/membership/[^"]*)"[^>]*>Show them', page)[1]
    members = desk.get(link)
    assert len(members.context["cl"].result_list) == 100
    assert {one.room for one in members.context["cl"].result_list} == {talk}
    assert 'class="question"' not in text(members)  # the offer to select all pages


def test_the_link_shows_the_members_of_that_room_alone(talk, alice, stranger, desk):
    other = Room.objects.create_with_owner("other", stranger)
    shown = desk.get(at("membership"), {"room__id__exact": other.pk})
    assert [one.user for one in shown.context["cl"].result_list] == [stranger]


@pytest.mark.parametrize("query", ["", "?q=room", "?o=-3", "?p=2"])
def test_a_page_of_rooms_takes_as_many_queries_as_one_room(query, talk, alice, desk):
    for nth in range(101):
        Room.objects.create_with_owner(f"room-{nth}", alice, by_operator=True)
    many = count_queries(desk, at("room") + query)
    assert many <= 5
    page = desk.get(at("room") + query)
    assert page.context["cl"].result_list
    assert not re.search(r'field-last_activity nowrap">-<', text(page))


def test_nothing_of_the_rooms_is_counted(talk, desk):
    for model in MODELS:
        assert count_queries(desk, at(model)) <= 5


# Mending ---------------------------------------------------------------------------


def test_a_person_is_put_out_and_the_log_says_why(talk, alice, bob, admin, do):
    assert do("kick", membership(talk, bob), reason=" noise ") == ["Done: 1."]
    assert talk.role_of(bob) is None
    event = last(talk)
    assert (event.kind, event.actor, event.target) == ("kick", admin, bob)
    assert event.text.body == "noise"
    do("kick", membership(talk, make_member(talk)), reason="")
    assert last(talk).text.body == ""


def make_member(room, name="ned"):
    person = make_person(name)
    room.admit(person)
    return person


def test_who_is_here_leaves_when_put_out_by_the_admin(talk, bob, node, do):
    write_batch([EnterRoom(talk.pk, bob, node.pk)])
    do("kick", membership(talk, bob))
    kinds = [event.kind for event in talk.events.order_by("-seq")[:2]]
    assert kinds == ["leave", "kick"]


def test_some_are_put_out_and_the_last_owner_is_not(talk, alice, bob, carol, do):
    rows = [membership(talk, person) for person in (alice, bob, carol)]
    told = do("kick", *rows)
    assert sorted(told) == [
        "Done: 2.",
        "alice in lobby: A room needs an owner. Make somebody else an owner first.",
    ]
    assert [row.user for row in talk.memberships.all()] == [alice]


@pytest.mark.parametrize("role", Role)
def test_a_role_is_given(role, talk, bob, admin, do):
    assert do(f"make_{role}", membership(talk, bob)) == ["Done: 1."]
    assert talk.role_of(bob) == role
    event = last(talk)
    assert (event.kind, event.actor, event.target) == ("role", admin, bob)
    assert event.data == {"role": role}


def test_the_last_owner_is_not_demoted(talk, alice, do):
    (told,) = do("make_member", membership(talk, alice))
    assert "A room needs an owner" in told
    assert talk.role_of(alice) == Role.OWNER


def test_rooms_are_cleared_and_the_log_says_why(talk, alice, admin, do):
    other = Room.objects.create_with_owner("other", alice)
    assert do("clear_history", talk, other, reason="noise") == ["Done: 2."]
    for room in (talk, other):
        room.refresh_from_db()
        event = last(room)
        assert (event.kind, event.actor) == ("clear", admin)
        assert event.text.body == "noise"
        assert room.floor == event.seq


def test_a_room_is_archived_and_opened_again(talk, admin, do, browse, bob):
    assert do("archive", talk) == ["Done: 1."]
    event = last(talk)
    assert (event.kind, event.actor, event.data) == (
        "archive",
        admin,
        {"archived": True},
    )
    assert "lobby" not in text(browse(bob).get("/rooms/"))
    assert do("reopen", talk) == ["Done: 1."]
    assert last(talk).data == {"archived": False}
    assert "lobby" in text(browse(bob).get("/rooms/"))


def test_rooms_are_deleted_once_one_is_sure_and_brought_back(talk, admin, desk, do):
    choice = {"action": "delete_rooms", "_selected_action": [talk.pk]}
    page = text(desk.post(at("room"), choice))
    assert f"<li>lobby: {last(talk).seq} events</li>" in page
    assert "You can recover it here for 30 days" in page
    assert Room.objects.filter(pk=talk.pk).exists()
    assert do("delete_rooms", talk, confirmed="Delete") == ["Done: 1."]
    event = talk.events.get(kind="delete_room")
    assert event.actor == admin
    assert not Room.objects.filter(pk=talk.pk).exists()
    assert "lobby" in text(desk.get(at("room")))
    assert "lobby" in text(desk.get(at("room"), {"deleted_at__isnull": "False"}))
    assert desk.get(at("room", talk.pk, "change")).status_code == 200
    (told,) = do("archive", talk)
    assert told == "lobby: This room no longer exists."
    assert do("bring_back", talk) == ["Done: 1."]
    assert last(talk).kind == "recover_room"
    assert Room.objects.filter(pk=talk.pk).exists()


@pytest.mark.parametrize("reason", ["x" * 201, "a\0b"])
def test_a_reason_that_cannot_be_kept_stops_the_act(reason, talk, bob, do):
    head = last(talk)
    told = do("kick", membership(talk, bob), reason=reason)
    assert "Done: 1." not in told
    assert last(talk) == head
    assert talk.role_of(bob)


def test_a_reason_with_a_control_character_is_refused(talk, bob, do):
    (told,) = do("kick", membership(talk, bob), reason="\x1b[31m")
    assert "control character" in told
    assert talk.role_of(bob)


def test_a_room_is_made_like_any_other(admin, desk):
    answer = desk.post(at("room", "add"), {"name": "Tea", "topic": " Green  tea "})
    assert answer.status_code == 302
    room = Room.objects.get()
    assert (room.slug, room.topic) == ("tea", "Green tea")
    assert room.role_of(admin) == Role.OWNER
    assert [event.kind for event in room.events.all()] == ["join"]
    assert Head.objects.get(room=room).seq == 1
    assert desk.get(at("room", room.pk, "change")).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "LOBBY"),
        ("name", "new"),
        ("name", "a b"),
        ("name", "a\0b"),
        ("name", "a" * 33),
        ("topic", "x" * 201),
        ("topic", "a\0b"),
        ("topic", "\x1b[31m"),
    ],
)
def test_a_bad_room_is_not_made(field, value, room, desk):
    fields = {"name": "tea", "topic": ""} | {field: value}
    answer = desk.post(at("room", "add"), fields)
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert Room.objects.get() == room


def test_a_name_taken_a_moment_ago_is_a_sentence(room, desk, monkeypatch):
    monkeypatch.setattr(RoomNameField, "clean", lambda field, name: name)
    answer = desk.post(at("room", "add"), {"name": "Lobby", "topic": ""}, follow=True)
    assert answer.redirect_chain == [(at("room", "add"), 302)]
    (told,) = [str(message) for message in answer.context["messages"]]
    assert told == "There’s already a room with this name."
    assert Room.objects.get() == room


def test_a_topic_is_set_by_the_verb(talk, admin, desk):
    answer = desk.post(at("room", talk.pk, "change"), fields_of(talk, topic="News"))
    assert answer.status_code == 302
    event = last(talk)
    assert (event.kind, event.actor, event.text.body) == ("topic", admin, "News")
    head = last(talk)
    desk.post(at("room", talk.pk, "change"), fields_of(talk, topic="News"))
    assert last(talk) == head  # nothing has changed


@pytest.mark.parametrize("topic", ["x" * 201, "\x1b[31m"])
def test_a_bad_topic_is_not_set(topic, talk, desk):
    answer = desk.post(at("room", talk.pk, "change"), fields_of(talk, topic=topic))
    assert answer.status_code == 200
    assert "topic" in answer.context["adminform"].form.errors
    talk.refresh_from_db()
    assert talk.topic == "Anything"


def fields_of(room, **fields):
    """What the form of a room sends."""
    count = room.memberships.count()
    return {
        "topic": room.topic,
        "memberships-TOTAL_FORMS": count,
        "memberships-INITIAL_FORMS": count,
        **{
            f"memberships-{nth}-id": row.pk
            for nth, row in enumerate(room.memberships.order_by("joined_seq"))
        },
        **{f"memberships-{nth}-room": room.pk for nth in range(count)},
        **fields,
    }


# What is not done here -------------------------------------------------------------


@pytest.mark.parametrize("model", ["event", "visit", "node"])
def test_the_log_is_only_looked_at(model, talk, desk):
    rows = MODELS[model].objects
    before = list(rows.values())
    row = rows.first()
    fields = {"kind": "topic", "seq": 99, "cause": "lost", "name": "x", "user": 1}
    for address in (at(model, "add"), at(model, row.pk, "change")):
        assert desk.post(address, fields).status_code == 403
    address = at(model, row.pk, "delete")
    assert desk.post(address, {"post": "yes"}).status_code == 403
    fields = {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"}
    desk.post(at(model), fields)
    assert list(rows.values()) == before
    assert 'name="action"' not in text(desk.get(at(model)))


def test_a_room_and_a_membership_change_by_their_verbs_only(talk, bob, desk):
    row = membership(talk, bob)
    head = last(talk)
    desk.post(at("membership", row.pk, "change"), {"role": "owner", "joined_seq": 99})
    forged = {
        "name": "stolen",
        "slug": "stolen",
        "floor": 99,
        "memberships-0-role": "member",
        "memberships-1-role": "owner",
        "memberships-0-DELETE": "on",
    }
    desk.post(at("room", talk.pk, "change"), fields_of(talk, **forged))
    for model, one in (("room", talk), ("membership", row)):
        address = at(model, one.pk, "delete")
        assert desk.post(address, {"post": "yes"}).status_code == 403
        fields = {"action": "delete_selected", "_selected_action": one.pk}
        desk.post(at(model), fields | {"post": "yes"})
    again = Room.objects.get(pk=talk.pk)
    assert (again.name, again.floor, again.memberships.count()) == ("lobby", 1, 3)
    assert list(again.memberships.values()) == list(talk.memberships.values())
    assert again.role_of(bob) == Role.MEMBER
    assert last(talk) == head


# Staff who may less ----------------------------------------------------------------


@pytest.fixture
def staff(db):
    return make_person("stan", is_staff=True)


def let(person, *codenames):
    person.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="rooms", codename__in=codenames
        )
    )


@pytest.mark.parametrize("model", MODELS)
def test_staff_without_a_permission_see_nothing(model, talk, staff, browse):
    client = browse(staff)
    assert client.get("/admin/").status_code == 200
    row = MODELS[model].objects.first()
    for address in (at(model), at(model, "add"), at(model, row.pk, "change")):
        assert client.get(address).status_code == 403
        assert client.post(address, {"action": "kick"}).status_code == 403
    let(staff, f"view_{model}")
    assert client.get(at(model)).status_code == 200


def test_who_is_no_staff_does_not_come_in(talk, alice, browse, client):
    for browser in (browse(alice), client):
        for model in MODELS:
            answer = browser.get(at(model))
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/admin/login/")


def test_staff_who_may_look_have_no_acts(talk, bob, staff, browse, do):
    let(staff, "view_room", "view_membership", "view_event")
    client = browse(staff)
    head = last(talk)
    for action, row in (("archive", talk), ("kick", membership(talk, bob))):
        page = text(client.get(at(row._meta.model_name)))
        assert f'value="{action}"' not in page
        do(action, row, client=client)
    assert last(talk) == head
    let(staff, "view_room", "change_room", "change_membership")
    assert 'value="archive"' in text(client.get(at("room")))


def test_a_permission_of_the_admin_is_no_right_in_a_room(talk, bob, staff, browse, do):
    """Staff who may change rows may look; the verbs ask who they are in the room."""
    let(staff, *[f"{verb}_{model}" for verb in ("view", "change") for model in MODELS])
    client = browse(staff)
    head = last(talk)
    row = membership(talk, bob)
    for action, one in (
        ("clear_history", talk),
        ("archive", talk),
        ("bring_back", talk),
        ("kick", row),
        ("make_owner", row),
    ):
        assert do(action, one, client=client) == [
            f"{one}: You don’t have permission to do that here."
        ]
    (told,) = do("delete_rooms", talk, client=client, confirmed="Delete")
    assert told == "lobby: You don’t have permission to do that here."
    answer = client.post(
        at("room", talk.pk, "change"), fields_of(talk, topic="News"), follow=True
    )
    told = [str(message) for message in answer.context["messages"]]
    assert told == ["You don’t have permission to do that here."]
    assert last(talk) == head
    talk.refresh_from_db()
    assert talk.topic == "Anything"
    # In a room of their own they may.
    talk.admit(staff)
    talk.give_role(staff, Role.MODERATOR, by=talk.memberships.get(role="owner").user)
    assert do("kick", row, client=client) == ["Done: 1."]
