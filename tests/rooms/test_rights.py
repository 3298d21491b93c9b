"""Who may do what: one table, and every door has to agree with it."""

import contextlib
import re
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.utils import timezone

from messaging.writing.requests import EnterRoom, PostMessage, write_batch
from rooms.models import Event, Room
from rooms.rights import Act, Refused, Role, may, rights
from tests.support.fixtures import make_person
from tests.support.room_client import RoomClient, SocketClient, sign_in

# Y: does it.  N: refused.  H: hidden, as if it were not there.  L: is sent to sign in.
# =: nothing happens, it is so already.  Of all that, only Y changes anything.
#
# `deactivated` is an owner whose account was closed. Staff, superuser: no members.
MATRIX = """
                 nobody stranger member moderator owner deactivated staff superuser
    list           L       Y       Y        Y       Y        L        Y       Y
    join           L       Y       =        =       =        L        Y       Y
    read           L       H       Y        Y       Y        L        H       H
    post           L       H       Y        Y       Y        L        H       H
    leave          L       N       Y        Y       N        L        N       N
    topic          L       N       N        Y       Y        L        N       Y
    kick           L       N       N        Y       Y        L        N       Y
    clear          L       N       N        Y       Y        L        N       Y
    restore        L       N       N        Y       Y        L        N       Y
    role           L       N       N        N       Y        L        N       Y
    archive        L       N       N        N       Y        L        N       Y
    delete_room    L       N       N        N       Y        L        N       Y
    recover_room   L       N       N        N       N        L        N       Y
"""
HEADING, *ROWS = [line.split() for line in MATRIX.strip().splitlines()]
PEOPLE = HEADING
CELLS = {
    (row[0], who): cell
    for row in ROWS
    for who, cell in zip(PEOPLE, row[1:], strict=True)
}
# By a form of the room's page. (To speak takes a socket; the rest is for the admin.)
FORMS = {
    "join": {},
    "leave": {},
    "topic": {"topic": "News"},
    "kick": {"user": "ned", "reason": "noise"},
    "clear": {"reason": "noise"},
    "restore": {"seq": "{clear}"},
    "role": {"user": "ned", "role": "moderator"},
    "delete_room": {},
}
ADDRESS = {act: f"/rooms/lobby/{act}/" for act in FORMS}
ADDRESS["delete_room"] = "/rooms/lobby/delete/"
# By a post over a socket.
POSTS = {
    "post": "hello",
    "topic": "/topic News",
    "kick": "/kick ned noise",
    "clear": "/clear noise",
}
WRITES = {"read": "enter", "post": "message", "leave": "part"}
AS_JSON = {"headers": {"Accept": "application/json"}}


@pytest.fixture
def world(room, alice, bob, carol, stranger, admin, node):
    """The lobby with one of each; ned, a member, is whom things are done to."""
    ned, gone = make_person("ned"), make_person("gone")
    for person in (ned, gone):
        room.admit(person)
    room.give_role(gone, Role.OWNER, by=alice)
    gone.is_active = False
    gone.save()
    clear = room.clear(by=alice)
    return World(
        room=room,
        node=node,
        clear=clear.seq,
        head=clear.seq,
        ned=ned,
        people={
            "nobody": AnonymousUser(),
            "stranger": stranger,
            "member": bob,
            "moderator": carol,
            "owner": alice,
            "deactivated": gone,
            "staff": make_person("stan", is_staff=True),
            "superuser": admin,
        },
    )


class World(SimpleNamespace):
    def browser(self, who, browse):
        person = self.people[who]
        return browse(person if person.is_authenticated else None)

    def fields(self, act):
        return {
            name: text.format(clear=self.clear) for name, text in FORMS[act].items()
        }

    def assert_written(self, act):
        """One line has been written, and it says what was done; for None, no line."""
        events = self.room.events.filter(seq__gt=self.head)
        kinds = [WRITES.get(act, act)] if act else []
        assert [event.kind for event in events] == kinds
        is_hidden = not Room.objects.filter(pk=self.room.pk).exists()
        assert is_hidden == (act == "delete_room")


def test_the_table_has_each_act_once():
    acts = [row[0] for row in ROWS]
    assert len(acts) == len(set(acts))
    assert set(acts) - {"list", "join"} == {act.value for act in Act}
    elsewhere = {"list", "read", "archive", "recover_room"}
    assert set(FORMS) | set(POSTS) | elsewhere == set(acts)
    assert set(CELLS.values()) == set("LYNH=")


@contextlib.contextmanager
def cell(act, who):
    """A try at one cell of the table: its letter. It leaves no trace."""
    with transaction.atomic():
        try:
            yield CELLS[act, who]
        except BaseException as fault:
            fault.add_note(f"in the cell of {act} and {who}")
            raise
        finally:
            transaction.set_rollback(True)


# The rights, and the verbs ---------------------------------------------------------


@pytest.mark.parametrize("act", Act)
def test_may_agrees_with_the_table(act, world):
    for who in PEOPLE:
        person = world.people[who]
        role = world.room.role_of(person)
        with cell(act, who) as letter:
            # That the last owner stays is no matter of rights: a test below has it.
            expected = letter == "Y" or (act, who) == (Act.LEAVE, "owner")
            assert may(person, act, role) == expected
            assert rights(person, role)[act] == expected


def test_an_act_nobody_knows_is_refused(alice, admin):
    for person in (alice, admin):
        assert not may(person, "destroy", Role.OWNER)


VERBS = {
    "join": lambda world, by: world.room.admit(by),
    "read": lambda world, by: write(EnterRoom(world.room.pk, by, world.node.pk)),
    "post": lambda world, by: write(PostMessage(world.room.pk, by, "key", "hello")),
    "leave": lambda world, by: world.room.part(by),
    "topic": lambda world, by: world.room.set_topic("News", by),
    "kick": lambda world, by: world.room.kick(world.ned, by),
    "clear": lambda world, by: world.room.clear(by),
    "restore": lambda world, by: world.room.restore(world.clear, by),
    "role": lambda world, by: world.room.give_role(world.ned, Role.MODERATOR, by),
    "archive": lambda world, by: world.room.archive(by),
    "delete_room": lambda world, by: world.room.delete_room(by),
    "recover_room": lambda world, by: recover(world.room, by),
}


def recover(room, by):
    """Bring the room back; where that is refused it is as it was before, too."""
    Room.everything.filter(pk=room.pk).update(deleted_at=timezone.now())
    try:
        room.recover_room(by)
    finally:
        Room.everything.filter(pk=room.pk).update(deleted_at=None)


def write(request):
    (outcome,) = write_batch([request])
    if isinstance(outcome, Refused):
        raise outcome


@pytest.mark.parametrize("act", VERBS)
def test_the_verbs_agree_with_the_table(act, world):
    for who in PEOPLE:
        with cell(act, who) as letter:
            if letter in "Y=":
                VERBS[act](world, world.people[who])
            else:
                with pytest.raises(Refused) as refused:
                    VERBS[act](world, world.people[who])
                assert refused.value.code == "not_allowed"
            world.assert_written(act if letter == "Y" else None)


# An archived room ------------------------------------------------------------------

STANDS_STILL = {"join", "post", "topic", "clear", "restore"}
REMAINS = {"read", "leave", "kick", "role", "archive", "delete_room", "recover_room"}


@pytest.mark.parametrize("act", VERBS)
def test_an_archived_room_keeps_showing_what_it_showed(act, world, alice):
    """Who may do it elsewhere is told why not here; who may not is told only that."""
    assert set(VERBS) == STANDS_STILL | REMAINS
    world.head = world.room.archive(by=alice).seq
    for who in PEOPLE:
        with cell(act, who) as letter:
            does = letter == "Y" and act in REMAINS
            if does:
                DONE_IN_AN_ARCHIVE.get(act, VERBS[act])(world, world.people[who])
            elif letter != "=":
                with pytest.raises(Refused) as refused:
                    VERBS[act](world, world.people[who])
                code = "archived" if letter == "Y" else "not_allowed"
                assert refused.value.code == code
            world.assert_written(act if does else None)


DONE_IN_AN_ARCHIVE = {
    "archive": lambda world, by: world.room.archive(by, archived=False)
}


@pytest.mark.parametrize("act", sorted(STANDS_STILL & set(FORMS)))
def test_the_forms_of_an_archived_room_say_why_not(act, world, alice, browse):
    world.head = world.room.archive(by=alice).seq
    who = "stranger" if act == "join" else "owner"
    answer = world.browser(who, browse).post(ADDRESS[act], world.fields(act), **AS_JSON)
    assert (answer.status_code, answer.json()["code"]) == (403, "archived")
    world.assert_written(None)


# Pages -----------------------------------------------------------------------------


@pytest.mark.parametrize("act", FORMS)
def test_forms_agree_with_the_table(act, world, browse):
    """As a page asks: the answer is a redirect to the room, or to sign in."""
    for who in PEOPLE:
        with cell(act, who) as letter:
            answer = world.browser(who, browse).post(
                ADDRESS[act], world.fields(act), follow=True
            )
            (landed,) = [url for url, _status in answer.redirect_chain]
            sign_in = "/accounts/login/?next=/rooms/lobby/"
            is_gone = (act, letter) == ("delete_room", "Y")
            page = "/rooms/" if is_gone else "/rooms/lobby/"
            assert landed == (sign_in if letter == "L" else page)
            world.assert_written(act if letter == "Y" else None)
            if letter == "N" and CELLS["read", who] == "H":
                assert (
                    "You don’t have permission to do that here."
                    in answer.content.decode()
                )


@pytest.mark.parametrize("act", FORMS)
def test_scripts_get_the_same_answers_as_json(act, world, browse):
    for who in PEOPLE:
        with cell(act, who) as letter:
            answer = world.browser(who, browse).post(
                ADDRESS[act], world.fields(act), **AS_JSON
            )
            body = answer.json()
            if letter in "Y=":
                seq = world.head + 1 if letter == "Y" else None
                assert (answer.status_code, body) == (200, {"seq": seq})
            else:
                code = {"L": (401, "signed_out"), "N": (403, "not_allowed")}[letter]
                assert (answer.status_code, body["code"]) == code
                assert body["detail"].endswith(".")
            world.assert_written(act if letter == "Y" else None)


def test_the_list_is_for_who_is_signed_in(world, browse):
    for who in PEOPLE:
        answer = world.browser(who, browse).get("/rooms/")
        with cell("list", who) as letter:
            if letter == "Y":
                assert 'href="/rooms/lobby/"' in answer.content.decode()
            else:
                assert answer.headers["Location"].startswith("/accounts/login/")


def test_the_log_is_for_members(world, browse):
    """From others it is hidden: as if there was no such room."""
    for who in PEOPLE:
        client = world.browser(who, browse)
        answer = client.get("/rooms/lobby/log/")
        with cell("read", who) as letter:
            assert answer.status_code == {"Y": 200, "H": 404, "L": 401}[letter]
            assert ('"events"' in answer.content.decode()) == (letter == "Y")
            if letter == "H":
                absent = client.get("/rooms/nosuch/log/")
                assert (answer.status_code, answer.content) == (404, absent.content)


def test_who_is_here_and_what_was_said_is_for_members(world, browse):
    """The others are offered to join, and told how many are here, not who."""
    write(EnterRoom(world.room.pk, world.ned, world.node.pk))
    write(PostMessage(world.room.pk, world.ned, "key", "the secret word"))
    for who in PEOPLE:
        answer = world.browser(who, browse).get("/rooms/lobby/")
        page = answer.content.decode()
        with cell("read", who) as letter:
            if letter == "L":
                sign_in = "/accounts/login/?next=/rooms/lobby/"
                assert answer.headers["Location"] == sign_in
            else:
                told = [bool(re.search(rf"\b{word}\b", page)) for word in SECRETS]
                assert told == [letter == "Y"] * len(SECRETS)
                assert ("1 person is here now" in page) == (letter == "H")


SECRETS = ["the secret word", "ned"]


# Between roles ---------------------------------------------------------------------

RANKS = [Role.MEMBER, Role.MODERATOR, Role.OWNER]


@pytest.mark.parametrize("target", RANKS)
@pytest.mark.parametrize("by", RANKS)
def test_only_lower_roles_are_kicked(by, target, room, alice, browse):
    one, two = make_person("one"), make_person("two")
    for person, role in ((one, by), (two, target)):
        room.admit(person)
        room.give_role(person, role, by=alice)
    allowed = by != Role.MEMBER and RANKS.index(target) < RANKS.index(by)
    answer = browse(one).post("/rooms/lobby/kick/", {"user": "two"}, **AS_JSON)
    assert answer.status_code == (200 if allowed else 403)
    assert (room.role_of(two) is None) == allowed
    assert room.events.filter(kind="kick").exists() == allowed


def test_nobody_kicks_themselves(room, alice, bob, carol, admin, browse):
    room.admit(admin)
    for person in (alice, carol, bob, admin):
        answer = browse(person).post(
            "/rooms/lobby/kick/", {"user": person.username}, **AS_JSON
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
        assert room.role_of(person)


def test_a_superuser_kicks_any_but_the_last_owner(room, alice, bob, admin):
    with pytest.raises(Refused, match="A room needs an owner"):
        room.kick(alice, admin)
    room.give_role(bob, Role.OWNER, by=alice)
    room.kick(alice, admin)
    assert room.role_of(alice) is None


def test_the_last_owner_neither_leaves_nor_is_demoted(room, alice, bob, browse):
    client = browse(alice)
    tries = [
        ("leave", {}),
        ("role", {"user": "alice", "role": "member"}),
        ("role", {"user": "alice", "role": "moderator"}),
    ]
    for act, fields in tries:
        answer = client.post(f"/rooms/lobby/{act}/", fields, **AS_JSON)
        assert answer.status_code == 403
        assert "A room needs an owner" in answer.json()["detail"]
    room.give_role(bob, Role.OWNER, by=alice)
    for act, fields in reversed(tries):
        assert client.post(f"/rooms/lobby/{act}/", fields, **AS_JSON).status_code == 200
        if act == "role":
            room.give_role(alice, Role.OWNER, by=bob)
    assert room.role_of(alice) is None


def test_an_owner_whose_account_is_closed_does_not_keep_a_room(room, alice, bob):
    room.give_role(bob, Role.OWNER, by=alice)
    bob.is_active = False
    bob.save()
    with pytest.raises(Refused, match="A room needs an owner"):
        room.part(alice)


def test_a_non_member_has_no_role_to_change_and_is_not_kicked(
    room, alice, stranger, browse
):
    for act in ("role", "kick"):
        fields = {"user": "stranger", "role": "owner"}
        answer = browse(alice).post(f"/rooms/lobby/{act}/", fields, **AS_JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_field")
        assert answer.json()["detail"] == "stranger isn’t a member of this room."
    assert room.role_of(stranger) is None


def test_who_may_not_act_does_not_learn_who_is_a_member(room, stranger, browse):
    make_person("another")
    for act in ("role", "kick"):
        answers = [
            browse(stranger).post(
                f"/rooms/lobby/{act}/", {"user": name, "role": "owner"}, **AS_JSON
            )
            for name in ("bob", "another")
        ]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert answers[0].content == answers[1].content


def test_a_role_that_does_not_exist_is_not_given(room, alice, bob, browse):
    for role in ("", "king", "OWNER", "owner\0"):
        answer = browse(alice).post(
            "/rooms/lobby/role/", {"user": "bob", "role": role}, **AS_JSON
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_field")
    assert room.role_of(bob) == Role.MEMBER


def test_a_right_counts_as_it_is_when_the_act_is_done(room, admin):
    """Not as it was when the request began, or the socket was opened."""
    room.set_topic("Before", by=admin)
    type(admin).objects.filter(pk=admin.pk).update(is_superuser=False)
    assert admin.is_superuser  # as a socket holds it, for hours
    with pytest.raises(Refused):
        room.set_topic("After", by=admin)


# Sockets ---------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_sockets_agree_with_the_table(serve, world, settings):
    settings.KICK_SECONDS = 0  # here, where ned is let in again
    server = await sync_to_async(serve)()
    for who in PEOPLE:
        person = world.people[who]
        session = await sign_in(person) if person.is_authenticated else ""
        await sync_to_async(world.room.admit)(world.ned)
        if CELLS["read", who] == "Y":
            await assert_posts_agree(who, server, world, session)
        else:
            code = {"L": 4401, "H": 4403}[CELLS["read", who]]
            await assert_nothing_is_told(server, world, session, code)
    # A socket for the list of rooms tells no more than the list does.
    for who in PEOPLE:
        person = world.people[who]
        session = await sign_in(person) if person.is_authenticated else ""
        async with SocketClient(server, "/ws/rooms/", session) as line:
            if CELLS["list", who] == "Y":
                assert set(await line.first("rooms")) == {"type", "here"}
            else:
                assert await line.closed() == 4401
    assert "Traceback" not in server.log


async def assert_posts_agree(who, server, world, session):
    async with RoomClient(server, world.room, session) as page:
        for act, body in POSTS.items():
            answer = await page.post(body)
            if CELLS[act, who] == "Y":
                event = await page.event(WRITES.get(act, act), seq=answer["seq"])
                assert event["user"]["name"] == world.people[who].username
            else:
                assert answer["code"] == "not_allowed", (who, act)


async def assert_nothing_is_told(server, world, session, code):
    """Not even to who sends without waiting to be let in."""
    world.head = await sync_to_async(last_number)(world.room)
    async with SocketClient(server, "/ws/rooms/lobby/", session) as line:
        with contextlib.suppress(Exception):
            for body in POSTS.values():
                await line.send(f'{{"type":"post","key":"k","body":"{body}"}}')
        assert await line.closed() == code
        assert {frame["type"] for frame in line.frames} <= {"rooms", "error"}
        assert line.of_type("error")[-1]["code"] == str(code)
    await sync_to_async(world.assert_written)(None)


def last_number(room):
    return room.events.latest("seq").seq


@pytest.mark.django_db(transaction=True)
async def test_a_role_that_changes_while_the_socket_is_open(serve, world):
    server = await sync_to_async(serve)()
    room, owner = world.room, world.people["owner"]
    bob, root = world.people["member"], world.people["superuser"]
    await sync_to_async(room.admit)(root)

    async def topic(page):
        answer = await page.post("/topic News")
        return answer.get("code", "done")

    @sync_to_async
    def give(person, role):
        room.give_role(person, role, by=owner)

    @sync_to_async
    def change(person, **fields):
        type(person).objects.filter(pk=person.pk).update(**fields)

    async with (
        RoomClient(server, room, await sign_in(bob)) as member,
        RoomClient(server, room, await sign_in(root)) as superuser,
        RoomClient(server, room, await sign_in(world.ned)) as leaver,
    ):
        assert await topic(member) == "not_allowed"
        await give(bob, Role.MODERATOR)
        assert await topic(member) == "done"
        told = await superuser.event("role", role="moderator")
        assert told["target"]["name"] == "bob"
        assert (await member.post("/kick ned"))["type"] == "ack"
        assert await leaver.closed() == 4403
        await give(bob, Role.MEMBER)
        assert await topic(member) == "not_allowed"

        assert await topic(superuser) == "done"
        await change(root, is_superuser=False)
        assert await topic(superuser) == "not_allowed"
        await superuser.say("a member still")
        await change(root, is_active=False)
        assert (await superuser.post("hello"))["code"] == "not_allowed"
        assert await topic(superuser) == "not_allowed"

        await member.say("before the archive")
        await sync_to_async(room.archive)(owner)
        assert (await member.post("after it"))["code"] == "archived"
        for command in ("/topic News", "/clear"):
            assert (await superuser.post(command))["code"] == "not_allowed"
        await change(root, is_active=True, is_superuser=True)
        for command in ("/topic News", "/clear"):
            assert (await superuser.post(command))["code"] == "archived"
        await sync_to_async(room.archive)(owner, archived=False)
        await member.say("open again")
        await sync_to_async(room.part)(bob)
        assert (await member.post("after leaving"))["code"] == "not_allowed"
        assert await member.closed() == 4403
    said = [event["body"] for event in member.events if event["kind"] == "message"]
    assert said == ["a member still", "before the archive", "open again"]
    assert await Event.objects.filter(kind="message").acount() == 3
