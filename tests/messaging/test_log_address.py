"""The log by HTTP: docs/PROTOCOL.md, "The log by HTTP"."""

import html
import json
import re
import tracemalloc

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging import history
from messaging.writing.requests import EnterRoom, PostMessage, write_batch
from rooms.models import Installation, Room
from tests.support.fixtures import make_person
from tests.support.room_client import RoomClient, sign_in

LOG = "/rooms/lobby/log/"


def say(room, person, *bodies):
    """Post it all; the numbers."""
    start = room.events.count()
    return write_batch(
        [PostMessage(room.pk, person, f"k{start}-{n}", b) for n, b in enumerate(bodies)]
    )


@pytest.fixture
def ask(bob, browse):
    """ask(before=7, …): the answer to bob, as a dict."""
    client = browse(bob)

    def ask(**query):
        answer = client.get(LOG, query)
        assert answer.status_code == 200, answer.content
        assert "no-store" in answer.headers["Cache-Control"]
        return answer.json()

    return ask


def seqs(page):
    return [event["seq"] for event in page["events"]]


def whole(room):
    return list(range(room.floor, room.events.count() + 1))


# Pages -----------------------------------------------------------------------------


def test_without_a_place_it_is_the_newest(room, alice, ask):
    say(room, alice, *map(str, range(60)))
    page = ask()
    assert set(page) == {"epoch", "head", "floor", "events"} | {
        "more_before",
        "more_after",
    }
    assert page["epoch"] == Installation.current().epoch
    assert (page["head"], page["floor"]) == (64, 1)
    assert seqs(page) == list(range(15, 65))
    assert (page["more_before"], page["more_after"]) == (True, False)


@pytest.mark.parametrize(
    ("place", "first", "last"),
    [
        ({}, 55, 64),
        ({"before": 64}, 54, 63),
        ({"before": 65}, 55, 64),
        ({"before": 1_000_000_000}, 55, 64),
        ({"before": 2**63 - 1}, 55, 64),
        ({"before": 5}, 1, 4),
        ({"before": 1}, 1, 0),
        ({"before": 0}, 1, 0),
        ({"after": 0}, 1, 10),
        ({"after": 4}, 5, 14),
        ({"after": 60}, 61, 64),
        ({"after": 64}, 1, 0),
        ({"after": 1_000_000_000}, 1, 0),
        ({"after": 2**63 - 1}, 1, 0),
        ({"around": 30}, 25, 34),
        ({"around": 1}, 1, 10),
        ({"around": 0}, 1, 10),
        ({"around": 64}, 55, 64),
        ({"around": 2**63 - 1}, 55, 64),
    ],
)
def test_a_page_is_one_range_of_numbers(place, first, last, room, alice, ask):
    say(room, alice, *map(str, range(60)))
    page = ask(**place, limit=10)
    assert seqs(page) == list(range(first, last + 1))
    if seqs(page):
        assert page["more_before"] == (first > 1)
        assert page["more_after"] == (last < 64)


@given(limit=st.integers(1, 50), data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_page_by_page_it_is_the_whole_log(limit, data, long_log, ask):
    """Backwards and forwards, and from the middle to both ends; no line twice."""
    expected = whole(long_log)
    backwards = read(ask, ask(limit=limit), "before", limit)
    assert backwards == expected
    forwards = read(ask, ask(after=0, limit=limit), "after", limit)
    assert forwards == expected
    middle = data.draw(st.integers(0, len(expected) + 9))
    page = ask(around=middle, limit=limit)
    seen = sorted({*read(ask, page, "before", limit), *read(ask, page, "after", limit)})
    assert seen == expected


MIB = 1024 * 1024


@pytest.fixture
def heavy_log(room, alice):
    """70 messages of 40 KB each, and one of many line ends, which JSON doubles."""
    bodies = ["<" * 8_000] * 70 + ["a\n" * 4_000]
    say(room, alice, *bodies)
    return room


@pytest.mark.parametrize(
    "place",
    [{}, {"before": 60}, {"before": 9}, {"after": 0}, {"after": 9}, {"after": 70}]
    + [{"around": seq} for seq in (0, 1, 10, 40, 74, 75, 1_000)],
)
def test_a_page_has_a_bounded_number_of_bytes(place, heavy_log, bob, browse):
    answer = browse(bob).get(LOG, {**place, "limit": 200})
    assert len(answer.content) < MIB + 1_000
    page = answer.json()
    first, *_rest, last = seqs(page)
    assert seqs(page) == list(range(first, last + 1))
    assert page["more_before"] == (first > 1)
    assert page["more_after"] == (last < 75)
    if first > 1 and last < 75:  # it is full
        assert len(answer.content) > MIB - 100_000
    if "before" in place:
        assert last == place["before"] - 1
    if "after" in place:
        assert first == place["after"] + 1
    if "around" in place:
        assert first <= min(max(place["around"], 1), 75) <= last


def test_pages_cut_by_bytes_are_the_whole_log(heavy_log, ask):
    expected = whole(heavy_log)
    assert read(ask, ask(limit=200), "before", 200) == expected
    assert read(ask, ask(after=0, limit=200), "after", 200) == expected
    page = ask(around=40, limit=200)
    seen = {*read(ask, page, "before", 200), *read(ask, page, "after", 200)}
    assert sorted(seen) == expected


def test_an_event_larger_than_a_page_comes_alone(room, heavy_log, alice):
    for place in ({"before": 41}, {"after": 39}, {"around": 40}):
        page = history.page(room, 75, size=10, **place)
        assert [record.seq for record in page.records] == [40]
        assert (page.more_before, page.more_after) == (True, True)


def test_no_more_is_read_than_a_page_holds(heavy_log, bob, browse):
    """The texts of all 71 messages are 2.8 MB."""
    client = browse(bob)
    client.get(LOG, {"limit": 1})
    tracemalloc.start()
    client.get(LOG, {"limit": 200})
    _size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * MIB


def test_a_page_names_few_of_many_who_are_present(room, alice, bob, node, browse):
    people = [make_person(f"person{nth}") for nth in range(210)]
    for person in people:
        room.admit(person)
    write_batch([EnterRoom(room.pk, person, node.pk) for person in people])
    shown = page_data(browse(bob).get("/rooms/lobby/").content.decode())
    assert [one["id"] for one in shown["here"]] == [one.pk for one in people[:200]]
    assert shown["here_count"] == 210


@pytest.fixture
def long_log(room, alice):
    """A log of 40 lines, the first nine of them cleared."""
    say(room, alice, "a", "b", "c", "d", "e")
    room.clear(alice)
    room.refresh_from_db()
    say(room, alice, *map(str, range(30)))
    return room


def read(ask, page, direction, limit):
    """The numbers of this page and of all further ones in one direction."""
    found = seqs(page)
    more = {"before": "more_before", "after": "more_after"}[direction]
    while page[more]:
        edge = found[0] if direction == "before" else found[-1]
        page = ask(**{direction: edge}, limit=limit)
        assert 0 < len(seqs(page)) <= limit
        found = seqs(page) + found if direction == "before" else found + seqs(page)
    return found


# Bad arguments ---------------------------------------------------------------------

NO_NUMBERS = ["", "-1", "x", "1.0", "1e3", " 1", "+1", "0x10", "٣", "１", "²", "1\0"]
TOO_LARGE = [str(2**63), str(2**64), "9" * 5_000]
BAD = [
    *(
        {name: value}
        for name in ("before", "after", "around", "limit")
        for value in NO_NUMBERS + TOO_LARGE
    ),
    {"limit": "0"},
    {"limit": "201"},
    {"limit": "1000000000"},
    {"before": "1", "after": "1"},
    {"before": "1", "around": "1"},
    {"after": "1", "around": "1"},
    {"after": "1", "limit": "x"},
]


def test_a_bad_argument_is_refused_as_json(room, bob, browse):
    client = browse(bob)
    assert client.get(LOG, {"before": "3", "limit": "2"}).status_code == 200
    for query in BAD:
        answer = client.get(LOG, query)
        assert answer.status_code == 400, query
        assert answer.json()["code"] == "bad_field", query
        assert answer.json()["detail"].endswith("."), query


def test_of_an_argument_given_twice_the_last_counts(room, bob, browse):
    client = browse(bob)
    assert client.get(f"{LOG}?limit=0&limit=2").status_code == 200
    assert client.get(f"{LOG}?limit=2&limit=0").status_code == 400


def test_what_the_log_does_not_know_it_ignores(room, bob, browse):
    answer = browse(bob).get(f"{LOG}?limit=2&colour=red&%00=%FF")
    assert len(answer.json()["events"]) == 2


# Who may ---------------------------------------------------------------------------


def test_it_is_hidden_from_who_is_no_member(room, stranger, browse):
    client = browse(stranger)
    assert client.get(LOG).status_code == 404
    assert client.get(LOG, {"before": "x"}).status_code == 404
    room.admit(stranger)
    assert client.get(LOG).status_code == 200


def test_signed_out_it_is_401(room, client):
    for slug in ("lobby", "nosuch"):
        answer = client.get(f"/rooms/{slug}/log/")
        assert answer.status_code == 401
        told = {"code": "signed_out", "detail": "You’re signed out."}
        assert answer.json() == told


def test_it_closes_to_who_is_put_out(room, alice, bob, browse):
    client = browse(bob)
    assert client.get(LOG).status_code == 200
    room.kick(bob, by=alice)
    assert client.get(LOG).status_code == 404


def test_only_the_room_that_was_asked_for_is_told_of(room, alice, ask):
    other = Room.objects.create_with_owner("other", alice)
    say(other, alice, "elsewhere")
    say(room, alice, "here")
    assert [event.get("body") for event in ask()["events"]][-1] == "here"
    assert "elsewhere" not in json.dumps(ask(limit=200))


# The floor -------------------------------------------------------------------------


def test_below_the_floor_there_is_nothing_until_it_is_taken_away(room, alice, ask):
    say(room, alice, "one", "two")
    before = ask()
    clear = room.clear(alice, "too much")
    say(room, alice, "three")
    for place in ({}, {"after": 0}, {"around": 2}, {"after": 3, "limit": 4}):
        page = ask(**place)
        assert page["floor"] == clear.seq
        assert seqs(page) == [clear.seq, clear.seq + 1], place
        assert (page["more_before"], page["more_after"]) == (False, False)
    assert ask(before=clear.seq)["events"] == []
    assert ask(before=clear.seq)["more_before"] is False
    room.restore(clear.seq, alice)
    page = ask()
    assert page["floor"] == 1
    assert page["events"][: len(before["events"])] == before["events"]
    assert seqs(page) == list(range(1, page["head"] + 1))


# One event is one object -----------------------------------------------------------


def page_data(page):
    """What a room's page starts its scripts with."""
    found = re.search(r'<script id="page-data"[^>]*>(.*?)</script>', page, re.S)
    return json.loads(html.unescape(found[1]))


@pytest.mark.django_db(transaction=True)
async def test_an_event_is_the_same_by_socket_by_page_and_by_address(
    serve, room, alice, bob
):
    server = await sync_to_async(serve)()
    session = await sign_in(alice)
    ned = await sync_to_async(make_person)("ned")
    await sync_to_async(room.admit)(ned)
    async with RoomClient(server, room, session) as page:
        start = page.welcome["head"]
        await page.say("a *word*, `code` and <b>no tag</b> & </script>")
        await page.say("/me waves")
        for body in ("/topic <Tea> & cake", "/kick ned for fun", "/clear & gone"):
            await page.post(body)
        cleared = await page.event("clear")
        await sync_to_async(room.restore)(cleared["seq"], alice)
        await sync_to_async(room.archive)(alice)
        await sync_to_async(room.archive)(alice, archived=False)
        await sync_to_async(room.part)(bob)
        await sync_to_async(room.admit)(bob)
        async with RoomClient(server, room, await sign_in(bob)):
            pass
        await sync_to_async(room.kick)(bob, by=alice)
        await page.event("leave")
        cookies = {django.SESSION_COOKIE_NAME: session}
        async with httpx.AsyncClient(base_url=server.url, cookies=cookies) as http:
            shown = page_data((await http.get("/rooms/lobby/")).text)
            log = (await http.get(f"{LOG}?limit=200")).json()
        live = page.events
    by_page = [event for event in shown["events"] if event["seq"] > start]
    by_log = [event for event in log["events"] if event["seq"] > start]
    assert live == by_page == by_log
    kinds = {event["kind"] for event in live}
    assert kinds == set(room.events.model.Kind.values) - {
        *("role", "delete_room", "recover_room")
    }
    for name in ("epoch", "head", "floor"):
        assert shown[name] == log[name]
    assert log["head"] == live[-1]["seq"]


# What it costs ---------------------------------------------------------------------

# Of these, two find out who asks: the session, and whether it has ended.
QUERIES = {"/rooms/lobby/": 8, LOG: 7}


@pytest.mark.parametrize("address", QUERIES)
def test_a_large_room_takes_as_many_queries_as_a_small_one(
    address, room, alice, bob, node, browse
):
    client = browse(bob)
    client.get(address)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address).status_code == 200
        return [query["sql"] for query in captured.captured_queries]

    small = queries()
    enlarge(room, alice, bob, node)
    large = queries()
    assert len(small) == len(large) == QUERIES[address], "\n".join(large)


def enlarge(room, alice, bob, node):
    """Forty people come in and talk; bob is in ten rooms more."""
    people = [make_person(f"person{nth}") for nth in range(40)]
    for person in people:
        room.admit(person)
    write_batch([EnterRoom(room.pk, person, node.pk) for person in people])
    for person in people:
        say(room, person, "one", "two", "three", "four", "five")
    for nth in range(10):
        Room.objects.create_with_owner(f"room-{nth}", bob)
    assert room.events.count() > 280
