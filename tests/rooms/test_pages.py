"""The pages of rooms: to set up, to find, to make, to join, to leave."""

import re
import unicodedata
from urllib.parse import unquote

import pytest
from django.db import transaction
from django.test import Client

from accounts.models import User
from rooms.forms import WelcomeForm
from rooms.models import Installation, Room, attendance
from rooms.models.log import writing
from rooms.rights import Role
from tests.support.fixtures import make_person
from tests.support.threads import at_once, wait_for_locks

PASSWORD = "correct horse battery"
WELCOME = {
    "username": "maya",
    "email": "",
    "password1": PASSWORD,
    "password2": PASSWORD,
    "room": "lobby",
}
AS_JSON = {"headers": {"Accept": "application/json"}}


def text(answer):
    return answer.content.decode()


def come_in(room, person, node):
    with writing(room.pk) as log:
        coming = attendance.NewVisit(room.pk, person, room.role_of(person), node.pk)
        attendance.enter(log, [coming])


# The first run ---------------------------------------------------------------------


def test_the_first_visitor_is_led_to_set_the_chat_up(db, client):
    answer = client.get("/", follow=True)
    assert answer.redirect_chain == [("/welcome/", 302)]
    assert "Rooms that remember who was there." in text(answer)
    assert 'value="lobby"' in text(answer)


def test_the_first_visitor_is_the_admin_and_owns_the_first_room(db, client):
    answer = client.post("/welcome/", WELCOME, follow=True)
    assert answer.redirect_chain == [("/rooms/lobby/", 302)]
    assert "maya" in text(answer)
    maya = User.objects.get()
    assert maya.is_superuser
    assert maya.is_staff
    assert maya.check_password(PASSWORD)
    assert Room.objects.get().role_of(maya) == Role.OWNER


def test_the_second_visitor_is_sent_on(alice, client):
    assert client.get("/").headers["Location"] == "/accounts/login/"
    assert client.get("/welcome/").headers["Location"] == "/"
    assert client.post("/welcome/", WELCOME).headers["Location"] == "/"
    assert User.objects.get() == alice
    assert not Room.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "3d"),
        ("username", "a b"),
        ("password1", "short"),
        ("password2", "another horse battery"),
        ("email", "nobody"),
        ("room", "new"),
        ("room", "a\0b"),
        ("room", ""),
    ],
)
def test_a_bad_first_form_makes_nothing(field, value, db, client):
    answer = client.post("/welcome/", WELCOME | {field: value})
    assert answer.status_code == 422
    assert 'class="errors"' in text(answer)
    assert not User.objects.exists()
    assert not Room.objects.exists()
    assert client.post("/welcome/", WELCOME).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_of_two_first_visitors_one_is_the_admin():
    """Both have seen that nobody is there; then they come to the lock."""
    answers = {}

    def set_up(name):
        fields = WELCOME | {"username": name, "room": f"{name}-room"}
        answers[name] = Client().post("/welcome/", fields)

    with transaction.atomic():
        Installation.lock()
        threads = at_once(set_up, "maya", "igor")
        wait_for_locks(2)
    for thread in threads:
        thread.join(20)
    first, second = sorted(answers.values(), key=lambda answer: answer.status_code)
    assert (first.status_code, second.status_code) == (302, 422)
    assert "This chat is already set up." in text(second)
    admin, room = User.objects.get(), Room.objects.get()
    assert admin.is_superuser
    assert room.name == f"{admin.username}-room"
    assert room.role_of(admin) == Role.OWNER


def test_a_first_name_taken_a_moment_ago_is_a_sentence(db, client, monkeypatch):
    """Somebody signed up by that name between the check and the save."""
    monkeypatch.setattr("rooms.forms.is_new", lambda: True)
    monkeypatch.setattr(User, "clean", lambda person: None)
    monkeypatch.setattr(WelcomeForm, "validate_unique", lambda form: None)
    make_person("maya")
    monkeypatch.setattr("rooms.views.is_new", lambda: True)
    answer = client.post("/welcome/", WELCOME)
    assert answer.status_code == 422
    assert "This name is already taken." in text(answer)
    assert not Room.objects.exists()


# Home ------------------------------------------------------------------------------


def test_home_is_the_room_one_was_in_last(room, alice, browse):
    other = Room.objects.create_with_owner("other", alice)
    client = browse(alice)
    assert client.get("/").headers["Location"] == "/rooms/"
    for one in (room, other, room):
        client.get(one.get_absolute_url())
        assert client.get("/").headers["Location"] == one.get_absolute_url()


def test_home_is_the_list_where_the_last_room_is_no_more_for_one(room, bob, browse):
    client = browse(bob)
    client.get("/rooms/lobby/")
    assert client.get("/").headers["Location"] == "/rooms/lobby/"
    room.part(bob)
    assert client.get("/").headers["Location"] == "/rooms/"


def test_home_is_no_archived_room(room, alice, browse):
    client = browse(alice)
    client.get("/rooms/lobby/")
    room.archive(alice)
    assert client.get("/").headers["Location"] == "/rooms/"


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "0", "1.5", "²", "1 OR 1=1", "9" * 18, "9" * 5_000, "\x01"]
)
def test_a_garbled_cookie_leads_to_the_list(value, room, alice, browse):
    client = browse(alice)
    client.cookies["last_room"] = str(room.pk)
    assert client.get("/").headers["Location"] == "/rooms/lobby/"
    client.cookies["last_room"] = value
    assert client.get("/").headers["Location"] == "/rooms/"


def test_the_address_of_a_room_one_has_looked_at_from_outside_is_not_kept(
    room, stranger, browse
):
    client = browse(stranger)
    client.get("/rooms/lobby/")
    assert "last_room" not in client.cookies


# The list --------------------------------------------------------------------------


def cards(answer):
    """What the list shows: {slug: (people here, members, whether one may join)}."""
    shown = {}
    for card in text(answer).split('class="room-card"')[1:]:
        slug = unquote(re.search(r'href="/rooms/([^"/]+)/"', card)[1])
        here = re.search(r"data-here>(\d+)<", card)[1]
        members = re.search(r">(\d+) members?<", card)[1]
        shown[slug] = (int(here), int(members), f"/rooms/{slug}/join/" in card)
    return shown


def test_the_list_counts_who_is_here_and_who_is_a_member(
    room, alice, bob, stranger, node, browse
):
    Room.objects.create_with_owner("quiet", alice)
    come_in(room, alice, node)
    come_in(room, bob, node)
    come_in(room, bob, node)  # a second tab
    answer = browse(bob).get("/rooms/")
    assert cards(answer) == {"lobby": (2, 3, False), "quiet": (0, 1, True)}
    answer = browse(stranger).get("/rooms/")
    assert cards(answer) == {"lobby": (2, 3, True), "quiet": (0, 1, True)}


def test_the_fullest_room_comes_first(room, alice, bob, node, browse):
    for name in ("aaa", "bbb"):
        Room.objects.create_with_owner(name, alice)
    assert list(cards(browse(bob).get("/rooms/"))) == ["aaa", "bbb", "lobby"]
    come_in(room, bob, node)
    assert list(cards(browse(bob).get("/rooms/"))) == ["lobby", "aaa", "bbb"]


def test_an_archived_room_is_not_in_the_list_but_can_be_read(
    room, alice, bob, stranger, browse
):
    assert "lobby" in cards(browse(bob).get("/rooms/"))
    room.archive(alice)
    assert cards(browse(bob).get("/rooms/")) == {}
    assert '"archived": true' in text(browse(bob).get("/rooms/lobby/"))
    page = text(browse(stranger).get("/rooms/lobby/"))
    assert "This room is archived." in page
    assert "/join/" not in page


def test_nothing_in_the_list_is_markup(alice, browse):
    Room.objects.create_with_owner(
        "loud", alice, topic="<script>alert(1)</script> {{ 7|add:1 }}"
    )
    page = text(browse(alice).get("/rooms/"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7|add:1 }}" in page


@pytest.mark.parametrize("count", [1, 12])
def test_the_list_takes_as_many_queries_for_twelve_rooms_as_for_one(
    count, alice, bob, node, browse, django_assert_num_queries
):
    for nth in range(count):
        room = Room.objects.create_with_owner(f"room-{nth}", alice)
        room.admit(bob)
        come_in(room, bob, node)
    client = browse(bob)
    client.get("/rooms/")
    with django_assert_num_queries(5):
        assert len(cards(client.get("/rooms/"))) == count


# Making a room ---------------------------------------------------------------------

NAMES = [
    "tea",
    "release-3",
    "snake_case",
    "Büro",
    "чтение",
    "日本語",
    "हिन्दी",
    "ภาษาไทย",
    "عربى",
    "ქართული",
    "a" * 32,
    "ß" * 32,
    "日" * 32,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_room_is_named_in_any_script(name, alice, browse):
    client = browse(alice)
    answer = client.post("/rooms/new/", {"name": name, "topic": "Talk"}, follow=True)
    room = Room.objects.get()
    assert answer.redirect_chain == [(room.get_absolute_url(), 302)]
    assert f"<bdi>{unicodedata.normalize('NFKC', name)}</bdi>" in text(answer)
    assert "Talk" in text(answer)
    assert room.role_of(alice) == Role.OWNER
    assert unicodedata.normalize("NFKC", name) in text(client.get("/rooms/"))


BAD_NAMES = {
    "nothing": "",
    "space": "   ",
    "a space within": "a b",
    "33 letters": "a" * 33,
    "33 letters of three bytes": "日" * 33,
    "far too many": "a" * 5_000,
    "a digit first": "3d",
    "a dash first": "-a",
    "a slash": "a/b",
    "the folder above": "..",
    "a percent sign": "a%2fb",
    "a NUL": "a\0b",
    "a new line within": "a\nb",
    "right to left": "a\u202eb",
    "zero width": "a\u200bb",
    "a joiner": "a\u200db",
    "a filler, which shows nothing": "a\u3164",
    "emoji": "tea🍵",
    "only emoji": "🍵",
    "a tower of marks": "a" + "\u0300" * 20,
    "far too many marks": "a" + "\u0300\u0316" * 20_000,
    "a mark first": "\u0301a",
    "markup": "<b>x</b>",
    "the address of the form": "new",
    "the same, cased": "NEW",
    "the same, wide": "ｎｅｗ",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_what_is_no_name_makes_no_room(name, alice, browse):
    answer = browse(alice).post("/rooms/new/", {"name": name})
    assert answer.status_code == 422
    assert 'id="id_name_error"' in text(answer)
    assert not Room.objects.exists()


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("lobby", "LOBBY"),
        ("lobby", "ｌｏｂｂｙ"),
        ("Café", "Cafe\u0301"),
        ("straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("Чай", "ЧАЙ"),
    ],
)
def test_a_name_that_folds_like_another_is_taken(name, twin, alice, bob, browse):
    assert browse(alice).post("/rooms/new/", {"name": name}).status_code == 302
    answer = browse(bob).post("/rooms/new/", {"name": twin})
    assert answer.status_code == 422
    assert "There’s already a room with this name." in text(answer)
    assert Room.objects.get().role_of(bob) is None


@pytest.mark.parametrize(
    ("twin", "told"),
    [
        ("l0bby", "There’s already a room with a name that looks the same."),
        ("1obby", "Start with a letter"),
        (
            "lоbby",
            "Use only one alphabet in each word of the name.",
        ),  # its o is Cyrillic
    ],
)
def test_a_room_that_looks_like_another_is_not_made(twin, told, room, bob, browse):
    answer = browse(bob).post("/rooms/new/", {"name": twin})
    assert answer.status_code == 422
    assert told in text(answer)
    assert Room.objects.get() == room


def test_a_room_may_be_called_by_words_of_two_alphabets(alice, browse):
    for name in ("IT-отдел", "support", "admin"):
        assert browse(alice).post("/rooms/new/", {"name": name}).status_code == 302


BAD_TOPICS = {
    "201 letters": "a" * 201,
    "a bell": "ring\x07",
    "an escape": "\x1b[31mred",
    "a NUL": "a\0b",
    "a C1 control": "a\x9bb",
}


@pytest.mark.parametrize("topic", BAD_TOPICS.values(), ids=BAD_TOPICS)
def test_a_bad_topic_is_refused_with_a_sentence(topic, room, alice, browse):
    client = browse(alice)
    answer = client.post("/rooms/new/", {"name": "tea", "topic": topic})
    assert answer.status_code == 422
    assert 'id="id_topic_error"' in text(answer)
    assert not Room.objects.named("tea").exists()
    answer = client.post("/rooms/lobby/topic/", {"topic": topic}, **AS_JSON)
    assert answer.status_code == 400
    assert answer.json()["code"] in ("too_long", "bad_field")
    room.refresh_from_db()
    assert room.topic == "Anything"


def test_a_topic_is_one_line_of_200_characters(alice, browse):
    topic = "🍵" * 199 + "\n"
    fields = {"name": "tea", "topic": f"  {topic}x"}
    assert browse(alice).post("/rooms/new/", fields).status_code == 422
    fields = {"name": "tea", "topic": "Green\r\n\tand   black"}
    assert browse(alice).post("/rooms/new/", fields).status_code == 302
    assert Room.objects.get().topic == "Green and black"


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_one_name_at_once_one_has_it(alice, bob):
    """Both have seen that it is free; then they come to the unique index."""
    answers = {}

    def make(person):
        client = Client()
        client.force_login(person)
        answers[person] = client.post("/rooms/new/", {"name": "tea"})

    with transaction.atomic():
        Room.objects.create_with_owner("tea", alice)
        threads = at_once(make, alice, bob)
        wait_for_locks(2)
        transaction.set_rollback(True)
    for thread in threads:
        thread.join(20)
    assert {answer.status_code for answer in answers.values()} == {302, 422}
    loser = next(who for who, answer in answers.items() if answer.status_code == 422)
    assert "There’s already a room with this name." in text(answers[loser])
    room = Room.objects.get()
    assert [member.role for member in room.memberships.all()] == [Role.OWNER]
    assert room.role_of(loser) is None


# Addresses -------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["LOBBY", "Lobby", "ｌｏｂｂｙ", "%4Cobby"])
def test_a_room_is_found_by_any_way_of_writing_its_name(address, room, alice, browse):
    client = browse(alice)
    page = text(client.get(f"/rooms/{address}/"))
    assert '"socket": "/ws/rooms/lobby/"' in page
    log = client.get(f"/rooms/{address}/log/")
    assert log.json()["events"][0]["seq"] == 1
    answer = client.post(f"/rooms/{address}/topic/", {"topic": "News"}, **AS_JSON)
    assert answer.json() == {"seq": 5}


def test_a_name_of_another_script_is_found_as_browsers_write_it(alice, browse):
    Room.objects.create_with_owner("Чтение", alice)
    address = "/rooms/%D1%87%D1%82%D0%B5%D0%BD%D0%B8%D0%B5/"
    assert Room.objects.get().get_absolute_url() == address
    assert "<bdi>Чтение</bdi>" in text(browse(alice).get(address))


NOWHERE = ["nosuch", "%00", "a%00b", "%FF%FE", "..", "%E2%80%AE", "x" * 5_000]


@pytest.mark.parametrize("slug", NOWHERE)
def test_a_room_that_is_not_there(slug, room, alice, browse):
    client = browse(alice)
    for address in ("", "log/"):
        assert client.get(f"/rooms/{slug}/{address}").status_code == 404
    for act in ACTS:
        assert client.post(f"/rooms/{slug}/{act}/").status_code == 404
        answer = client.post(f"/rooms/{slug}/{act}/", **AS_JSON)
        assert answer.status_code == 404
        assert answer.json() == {
            "code": "no_such_room",
            "detail": "There’s no such room.",
        }


def test_signed_out_one_learns_of_no_room(room, client):
    for slug in ("lobby", "nosuch"):
        answer = client.get(f"/rooms/{slug}/")
        assert answer.headers["Location"] == f"/accounts/login/?next=/rooms/{slug}/"
        assert client.get(f"/rooms/{slug}/log/").status_code == 401
        answer = client.post(f"/rooms/{slug}/join/", **AS_JSON)
        assert answer.status_code == 401


# Methods and tokens ----------------------------------------------------------------

ACTS = ["join", "leave", "kick", "role", "topic", "clear", "restore"]


@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_only_posted(act, room, alice, browse):
    client = browse(alice)
    for method in (client.get, client.head, client.put, client.delete, client.patch):
        answer = method(f"/rooms/lobby/{act}/")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert client.post(f"/rooms/lobby/{act}/").status_code == 302


@pytest.mark.parametrize("page", ["/", "/rooms/", "/rooms/lobby/", "/rooms/lobby/log/"])
def test_a_page_to_read_is_only_read(page, room, alice, browse):
    client = browse(alice)
    for method in (client.post, client.put, client.delete, client.patch):
        assert method(page).status_code == 405
    assert client.get(page).status_code in (200, 302)
    assert client.head(page).status_code in (200, 302)


@pytest.mark.parametrize("page", ["/welcome/", "/rooms/new/"])
def test_a_form_is_read_or_posted(page, db, client):
    if page != "/welcome/":
        client.force_login(make_person("alice"))
    for method in (client.put, client.delete, client.patch):
        assert method(page).status_code == 405
    assert client.get(page).status_code == 200
    assert client.head(page).status_code == 200
    assert client.post(page, {"name": ""}).status_code == 422


FIELDS = {
    "join": {},
    "leave": {},
    "kick": {"user": "bob"},
    "role": {"user": "bob", "role": "moderator"},
    "topic": {"topic": "News"},
    "clear": {},
    "restore": {"seq": "5"},
}


@pytest.mark.parametrize("act", ACTS)
def test_an_act_from_another_site_is_refused(act, room, alice, bob, carol, browse):
    room.clear(alice)
    head = room.events.count()
    who = {"join": make_person("new"), "leave": bob}.get(act, alice)
    client = browse(who, enforce_csrf_checks=True)
    page = text(client.get("/rooms/lobby/"))
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    address = f"/rooms/lobby/{act}/"

    forged = [
        client.post(address, FIELDS[act]),
        client.post(address, FIELDS[act] | {"csrfmiddlewaretoken": "x" * 64}),
        client.post(address, FIELDS[act], headers={"X-CSRFToken": "x" * 64}),
        client.post(
            address,
            FIELDS[act] | {"csrfmiddlewaretoken": token},
            headers={"Origin": "https://evil.example"},
        ),
    ]
    assert [answer.status_code for answer in forged] == [403] * len(forged)
    assert room.events.count() == head

    answer = client.post(address, FIELDS[act], headers={"X-CSRFToken": token})
    assert answer.status_code == 302
    assert room.events.count() == head + 1


@pytest.mark.parametrize("address", ["/welcome/", "/rooms/new/"])
def test_a_form_from_another_site_is_refused(address, db, browse):
    client = browse(None, enforce_csrf_checks=True)
    fields = WELCOME
    if address != "/welcome/":
        client.force_login(make_person("alice"))
        fields = {"name": "tea"}
    assert client.post(address, fields).status_code == 403
    assert not Room.objects.exists()
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', text(client.get(address)))
    fields = fields | {"csrfmiddlewaretoken": token[1]}
    assert client.post(address, fields).status_code == 302
    assert Room.objects.exists()


# Joining and leaving ---------------------------------------------------------------


def test_one_joins_by_a_form_and_is_in_the_room(room, stranger, browse):
    client = browse(stranger)
    page = text(client.get("/rooms/lobby/"))
    assert 'action="/rooms/lobby/join/"' in page
    assert 'id="page-data"' not in page
    answer = client.post("/rooms/lobby/join/", follow=True)
    assert answer.redirect_chain == [("/rooms/lobby/", 302)]
    assert 'id="page-data"' in text(answer)
    assert room.role_of(stranger) == Role.MEMBER
    event = room.events.latest("seq")
    assert (event.kind, event.actor) == ("join", stranger)


def test_one_joins_once(room, stranger, browse):
    client = browse(stranger)
    assert client.post("/rooms/lobby/join/", **AS_JSON).json() == {"seq": 5}
    assert client.post("/rooms/lobby/join/", **AS_JSON).json() == {"seq": None}
    assert room.events.count() == 5


def test_who_left_is_offered_to_join_again(room, bob, browse):
    client = browse(bob)
    assert client.post("/rooms/lobby/leave/", **AS_JSON).json() == {"seq": 5}
    assert room.role_of(bob) is None
    assert "Join lobby" in text(client.get("/rooms/lobby/"))
    client.post("/rooms/lobby/join/")
    assert [event.kind for event in room.events.order_by("-seq")[:2]] == [
        "join",
        "part",
    ]


def test_who_was_put_out_comes_back_as_a_member(room, alice, carol, browse, settings):
    settings.KICK_SECONDS = 0
    room.kick(carol, alice)
    browse(carol).post("/rooms/lobby/join/")
    assert room.role_of(carol) == Role.MEMBER


def test_an_archived_room_is_not_joined(room, alice, stranger, browse):
    room.archive(alice)
    client = browse(stranger)
    answer = client.post("/rooms/lobby/join/", **AS_JSON)
    assert (answer.status_code, answer.json()["code"]) == (403, "archived")
    answer = client.post("/rooms/lobby/join/", follow=True)
    assert "This room is archived." in text(answer)
    assert room.role_of(stranger) is None
    room.archive(alice, archived=False)
    assert client.post("/rooms/lobby/join/", **AS_JSON).status_code == 200


# Acts ------------------------------------------------------------------------------


BAD_FIELDS = [
    ("kick", {}),
    ("kick", {"user": ""}),
    ("kick", {"user": "nobody-here"}),
    ("kick", {"user": "bo\0b"}),
    ("kick", {"user": "bob", "reason": "x" * 201}),
    ("kick", {"user": "bob", "reason": "\x1b[31m"}),
    ("role", {"user": "bob"}),
    ("role", {"user": "bob", "role": "king"}),
    ("topic", {"topic": "x" * 201}),
    ("clear", {"reason": "\x00"}),
    ("restore", {}),
    ("restore", {"seq": "x"}),
    ("restore", {"seq": "-1"}),
    ("restore", {"seq": " 5"}),
    ("kick", {"user": " bob "}),
    ("restore", {"seq": "0"}),
    ("restore", {"seq": "٥"}),
    ("restore", {"seq": "5.0"}),
    ("restore", {"seq": "1"}),  # no clear
    ("restore", {"seq": str(2**63 - 1)}),
    ("restore", {"seq": str(2**63)}),
    ("restore", {"seq": "9" * 5_000}),
]


@pytest.mark.parametrize(("act", "fields"), BAD_FIELDS)
def test_a_bad_field_is_answered_with_a_sentence(act, fields, room, alice, browse):
    head = room.clear(alice).seq
    answer = browse(alice).post(f"/rooms/lobby/{act}/", fields, **AS_JSON)
    assert answer.status_code == 400
    assert answer.json()["code"] in ("bad_field", "too_long")
    assert answer.json()["detail"].endswith(".")
    assert room.events.latest("seq").seq == head


def test_a_person_is_named_in_any_way(room, alice, bob, browse, settings):
    settings.KICK_SECONDS = 0
    for name in ("bob", "@bob", "BOB", "ｂｏｂ"):
        fields = {"user": name, "reason": "  for \n fun "}
        answer = browse(alice).post("/rooms/lobby/kick/", fields, **AS_JSON)
        event = room.events.get(seq=answer.json()["seq"])
        assert (event.target, event.text.body) == (bob, "for fun")
        room.admit(bob)


def test_what_was_cleared_comes_back_by_the_number_of_the_clear(room, alice, browse):
    client = browse(alice)

    def floor():
        return client.get("/rooms/lobby/log/").json()["floor"]

    first = client.post("/rooms/lobby/clear/", {"reason": "a"}, **AS_JSON).json()["seq"]
    last = client.post("/rooms/lobby/clear/", {"reason": "b"}, **AS_JSON).json()["seq"]
    assert floor() == last
    answer = client.post("/rooms/lobby/restore/", {"seq": first}, **AS_JSON)
    assert answer.json()["code"] == "bad_field"  # the latest first
    for clear, below in ((last, first), (first, 1)):
        assert client.post("/rooms/lobby/restore/", {"seq": clear}).status_code == 302
        assert floor() == below
    answer = client.post("/rooms/lobby/restore/", {"seq": first}, **AS_JSON)
    assert answer.json()["code"] == "bad_field"
