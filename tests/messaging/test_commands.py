"""What maintainers type: `manage.py create_room`, `seed_demo`, `check_log`."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from messaging import check_log
from messaging.demo import PEOPLE, ROOMS
from messaging.models import Message
from messaging.writing.requests import EnterRoom, ExitRoom, PostMessage, write_batch
from rooms.models import Event, Head, Room, Visit
from rooms.models.attendance import Cause
from rooms.rights import Role
from tests.support.fixtures import make_person


def run(*words):
    """What the command prints. SystemExit or CommandError where it fails."""
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def assert_sound():
    found = {rule.name: check_log.faults(rule, 5) for rule in check_log.RULES}
    assert found == {rule.name: [] for rule in check_log.RULES}


# create_room -----------------------------------------------------------------------


def test_a_room_is_made(alice):
    said = run("create_room", "Tea", "--owner", "ALICE", "--topic", " Green   tea ")
    assert said == "Made the room Tea, owned by alice.\n"
    room = Room.objects.get()
    assert (room.slug, room.topic) == ("tea", "Green tea")
    assert room.role_of(alice) == Role.OWNER
    assert_sound()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tea"], "--owner"),
        (["--owner", "alice"], "name"),
        (["tea", "--owner", "nobody"], "There is nobody named 'nobody'."),
        (["tea", "--owner", "ali\0ce"], "There is nobody named"),
        (["tea", "--owner", "gone"], "The account of gone is closed."),
        (["LOBBY", "--owner", "alice"], "There’s already a room with this name."),
        (["new", "--owner", "alice"], "There’s already a room with this name."),
        (["a b", "--owner", "alice"], "Start with a letter"),
        (["", "--owner", "alice"], "This field is required."),
        (["a" * 33, "--owner", "alice"], "at most 32 characters"),
        (["tea", "--owner", "alice", "--topic", "x" * 201], "at most 200 characters"),
        (["tea", "--owner", "alice", "--topic", "\x1b[31m"], "control character"),
        (["tea", "--owner", "alice", "--topic", "a\0b"], "Null characters"),
    ],
)
def test_what_makes_no_room_is_answered_in_a_sentence(words, sentence, room):
    make_person("gone", is_active=False)
    with pytest.raises(CommandError) as error:
        run("create_room", *words)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert Room.objects.get() == room
    assert run("create_room", "tea", "--owner", "alice")


# seed_demo -------------------------------------------------------------------------


def test_the_demo_is_made_once(db, client):
    said = run("seed_demo", "--days", "2", "--messages", "20")
    assert Room.objects.count() == len(ROOMS)
    assert User.objects.count() == len(PEOPLE)
    # Two days of twenty messages, and who came and went.
    assert Message.objects.count() == len(ROOMS) * 2 * 20
    assert f"{len(ROOMS)}/{len(ROOMS)} {ROOMS[-1][0]}: " in said
    assert_sound()
    assert not Visit.objects.unsettled().exists()
    password = said.split()[-1]
    fields = {"login": PEOPLE[1], "password": password}
    answer = client.post("/accounts/login/", fields, follow=True)
    assert answer.redirect_chain[-1][0] == "/rooms/"
    assert client.get("/accounts/session/").json()["name"] == PEOPLE[1]

    events = Event.objects.count()
    with pytest.raises(CommandError, match="All rooms of the demo are there already."):
        run("seed_demo")
    assert Event.objects.count() == events


def test_the_demo_leaves_what_is_there_alone(alice):
    maya = make_person("MAYA", password="correct horse battery")
    lobby = Room.objects.create_with_owner("Lobby", alice)
    said = run("seed_demo", "--days", "1", "--messages", "1")
    assert lobby.events.count() == 1
    assert Room.objects.count() == len(ROOMS)
    maya.refresh_from_db()
    assert maya.check_password("correct horse battery")
    assert "MAYA" not in said  # the password told is not hers
    assert_sound()


@pytest.mark.parametrize("lines", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_the_demo_is_sound_however_little_is_said(lines, seed, db):
    run("seed_demo", "--days", "3", "--messages", str(lines), "--seed", str(seed))
    assert Message.objects.count() == len(ROOMS) * 3 * lines
    assert_sound()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM rooms_event WHERE at > now()")
        assert cursor.fetchone() == (0,)


def test_people_talk_on_in_the_rooms_of_the_demo(db, node):
    run("seed_demo", "--days", "1", "--messages", "2")
    room = Room.objects.named("lobby").get()
    owner = room.memberships.get(role=Role.OWNER).user
    (entry,) = write_batch([EnterRoom(room.pk, owner, node.pk)])
    write_batch([PostMessage(room.pk, owner, "key", "hello")])
    write_batch([ExitRoom(room.pk, entry.visit_id, Cause.SIGNED_OUT)])
    assert_sound()


@pytest.mark.parametrize(
    "words",
    [
        ["--days", "0"],
        ["--days", "366"],
        ["--messages", "0"],
        ["--messages", "10001"],
        ["--days", "-1"],
        ["--days", "x"],
        ["--seed", "x"],
        ["more"],
    ],
)
def test_a_bad_demo_is_answered_in_a_sentence(words, db):
    with pytest.raises(CommandError) as error:
        run("seed_demo", *words)
    assert len(str(error.value).splitlines()) == 1
    assert not Room.objects.exists()
    assert not User.objects.exists()


# check_log -------------------------------------------------------------------------


@pytest.fixture
def talk(transactional_db, room, alice, bob, carol, node):
    """A log with something of everything. bob is here, alice has left."""
    other = Room.objects.create_with_owner("other", alice)
    one, two, _three = write_batch(
        [
            EnterRoom(room.pk, alice, node.pk),
            EnterRoom(room.pk, bob, node.pk),
            EnterRoom(other.pk, alice, node.pk),
        ]
    )
    write_batch(
        [
            PostMessage(room.pk, alice, "a1", "hello"),
            PostMessage(room.pk, bob, "b1", "hello"),
            PostMessage(other.pk, alice, "a2", "hello"),
        ]
    )
    write_batch([ExitRoom(room.pk, one.visit_id, Cause.SIGNED_OUT)])
    room.set_topic("News", alice)
    write_batch([PostMessage(room.pk, bob, "b2", "bye")])
    return room


def check(*words):
    """The exit code of `check_log`, and what it printed."""
    out = io.StringIO()
    try:
        call_command("check_log", *words, stdout=out)
    except SystemExit as end:
        return end.code, out.getvalue()
    return 0, out.getvalue()


def test_a_sound_log_is_found_sound(talk):
    code, said = check()
    assert code == 0
    *rules, sum_ = said.splitlines()
    assert rules == [f"✓ {rule.name}" for rule in check_log.RULES]
    assert sum_ == f"2 rooms · {Event.objects.count()} events · 0 faults"


def test_an_empty_house_is_sound(transactional_db):
    assert check() == (
        0,
        "".join(f"✓ {rule.name}\n" for rule in check_log.RULES)
        + "0 rooms · 0 events · 0 faults\n",
    )


# The lobby's log: 1 to 4 are its members, 5 alice and 6 bob come in, 7 and 8 are their
# messages, 9 alice leaves, 10 is the topic, 11 a message of bob.
HOLE, COUNTER, TIME, ONE, TEXT, AUTHOR, KEY, TURNS, VISITS, COUNT = [
    rule.name for rule in check_log.RULES
]
LOBBY = "(SELECT id FROM rooms_room WHERE slug = 'lobby')"
ALICE = "(SELECT id FROM accounts_user WHERE slug = 'alice')"
BOB = "(SELECT id FROM accounts_user WHERE slug = 'bob')"


def event(seq, change):
    return f"UPDATE rooms_event SET {change} WHERE room_id = {LOBBY} AND seq = {seq}"


def head(change):
    return f"UPDATE rooms_head SET {change} WHERE room_id = {LOBBY}"


def message(key, change):
    return f"UPDATE messaging_message SET {change} WHERE key = '{key}'"


NO_TEXTS = "DELETE FROM rooms_eventtext;"
FAULTS = {
    "a line is gone": (
        NO_TEXTS + f"DELETE FROM rooms_event WHERE room_id = {LOBBY} AND seq = 10",
        HOLE,
        "lobby #10: numbers 10 to 10 missing",
    ),
    "the first lines are gone": (
        f"DELETE FROM rooms_event WHERE room_id = {LOBBY} AND seq <= 2",
        HOLE,
        "lobby #1: numbers 1 to 2 missing",
    ),
    "a number is far too high": (
        event(11, "seq = 2011"),
        HOLE,
        "lobby #11: numbers 11 to 2010 missing",
    ),
    "a number is doubled": (event(5, "seq = 4"), HOLE, "lobby #5: "),
    "the last line is gone": (
        NO_TEXTS
        + f"DELETE FROM rooms_event WHERE room_id = {LOBBY} AND seq = 10;"
        + event(11, "seq = 10"),
        COUNTER,
        "lobby #11: the counter says 11, the log ends at 10",
    ),
    "the counter is behind": (
        head("seq = 10"),
        COUNTER,
        "lobby #10: the counter says 10, the log ends at 11",
    ),
    "the counter is gone": (
        f"DELETE FROM rooms_head WHERE room_id = {LOBBY}",
        COUNTER,
        "lobby #0: the counter says nothing, the log ends at 11",
    ),
    "time runs back": (
        event(10, "at = at - interval '1 second'"),
        TIME,
        "lobby #10: is earlier than the number before it",
    ),
    "a text is gone": (
        "DELETE FROM messaging_message WHERE key = 'a1'",
        ONE,
        "lobby #7: has no message",
    ),
    "a topic has a text": (
        event(7, "kind = 'topic'"),
        ONE,
        "lobby #7: is no message but has one",
    ),
    "a topic is gone": (
        NO_TEXTS,
        TEXT,
        "lobby #10: has no text; `manage.py prepare` moves it there",
    ),
    "a join has a topic": (
        event(10, "kind = 'join'"),
        TEXT,
        "lobby #10: can have no text but has one",
    ),
    "a text is another's": (
        message("b1", f"author_id = {ALICE}"),
        AUTHOR,
        "lobby #8: actor and author differ",
    ),
    "a text is nobody's": (
        event(8, "actor_id = NULL"),
        AUTHOR,
        "lobby #8: actor and author differ",
    ),
    "a key is used twice": (
        message("b2", "key = 'b1'"),
        KEY,
        "lobby #11: the key b1 was used 2 times",
    ),
    "a key is used in two rooms": (
        message("a2", "key = 'a1'"),
        KEY,
        "other #3: the key a1 was used 2 times",
    ),
    "one comes in twice": (
        event(9, "kind = 'enter'"),
        TURNS,
        "lobby #9: enter after enter",
    ),
    "one leaves who was not in": (
        event(5, "kind = 'leave'"),
        TURNS,
        "lobby #5: leave after leave",
    ),
    "a visit is gone": (
        f"DELETE FROM rooms_visit WHERE user_id = {BOB}",
        VISITS,
        "lobby #6: bob entered but has no visit",
    ),
    "a visit has no coming": (
        "UPDATE rooms_visit SET settled = false",
        VISITS,
        "lobby #0: alice has a visit but did not enter",
    ),
    "the count is too high": (
        head("here = 3"),
        COUNT,
        "lobby #11: says 3 here, it is 1",
    ),
    "the count is too low": (
        head("here = 0"),
        COUNT,
        "lobby #11: says 0 here, it is 1",
    ),
}
IN_THE_WAY = {
    "one_message_a_key": "messaging_message",
    "one_event_a_number": "rooms_event",
}


@pytest.fixture
def harm(talk):
    """harm(sql): what the constraints forbid, too. They are back when the test ends."""
    with connection.cursor() as cursor:
        read = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s"
        definitions = {}
        for name, table in IN_THE_WAY.items():
            cursor.execute(read, [name])
            (definitions[name],) = cursor.fetchone()
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        yield cursor.execute
        cursor.execute("TRUNCATE rooms_room, accounts_user CASCADE")
        for name, table in IN_THE_WAY.items():
            cursor.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT {name} {definitions[name]}"
            )


@pytest.mark.parametrize(("sql", "rule", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_seeded_fault_is_found_and_named(sql, rule, fault, harm):
    assert check()[0] == 0
    harm(sql)
    code, said = check()
    assert code == 1
    told = dict(part.split("\n", 1) for part in said.split("✗ ")[1:])
    assert f"    {fault}" in told[rule]
    assert not said.endswith(" 0 faults\n")


def test_every_rule_finds_a_fault():
    found = {rule for _sql, rule, _fault in FAULTS.values()}
    assert found == {rule.name for rule in check_log.RULES}


def test_only_the_first_faults_are_named(talk):
    Head.objects.update(here=9)
    code, said = check("--faults", "1")
    assert (code, said.count("says 9 here")) == (1, 1)
    code, said = check("--faults", "2")
    assert (code, said.count("says 9 here")) == (1, 2)


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_to_name_no_fault_is_no_check(number, talk):
    """Else it would find nothing, and call the log sound."""
    Head.objects.update(here=9)
    with pytest.raises(CommandError) as error:
        check("--faults", number)
    assert "--faults" in str(error.value)
    assert check("--faults", "1")[0] == 1
