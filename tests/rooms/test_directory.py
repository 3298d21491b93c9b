"""The list of rooms: found by the beginnings of their names, some at a time."""

import json
import re
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from rooms import directory
from rooms.directory import Question, look
from rooms.models import Head, Membership, Room
from tests.support.fixtures import make_person

MANY = 5_000
MAKE_ROOMS = """
    WITH made AS (
        INSERT INTO rooms_room (name, slug, topic, floor, created_at)
        SELECT 'room-' || n, 'room-' || n, '', 1, now()
        FROM generate_series(1, %s) AS n RETURNING id
    ), heads AS (
        INSERT INTO rooms_head (room_id, seq, here) SELECT id, 1, 0 FROM made
    )
    INSERT INTO rooms_membership (room_id, user_id, role, joined_seq)
    SELECT made.id, person, 'member', 1 FROM made, unnest(%s::bigint[]) AS person
"""


def make_rooms(count, *people):
    """So many rooms, named room-1 and so on, with these members."""
    with connection.cursor() as cursor:
        cursor.execute(MAKE_ROOMS, [count, [person.pk for person in people]])


def names(page):
    return [room.name for room in page.rooms]


def ask(user, **asked):
    return look(user, Question(**asked))


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(directory, "PAGE", 3)
    monkeypatch.setattr(directory, "LIVELY", 2)


@pytest.fixture
def seven(db, alice, small_pages):
    for name in ("Cello", "bass", "alto", "drum", "flute", "bassoon", "Übung"):
        Room.objects.create_with_owner(name, alice)
    return ["alto", "bass", "bassoon", "Cello", "drum", "flute", "Übung"]


# Pages -----------------------------------------------------------------------------


def test_pages_follow_each_other_forwards_and_backwards(seven, alice):
    first = ask(alice)
    assert (names(first), first.before) == (seven[:3], "")
    second = ask(alice, after=first.after)
    assert names(second) == seven[3:6]
    third = ask(alice, after=second.after)
    assert (names(third), third.after) == (seven[6:], "")
    assert names(ask(alice, before=third.before)) == names(second)
    back = ask(alice, before=second.before)
    assert (names(back), back.before, back.after) == (seven[:3], "", first.after)


def test_one_walks_through_the_pages_by_links(seven, alice, browse):
    client, seen, address = browse(alice), [], "/rooms/"
    while address:
        html = client.get(address).content.decode()
        seen += re.findall(r"</span><bdi>(.*?)</bdi>", html)
        link = re.search(r'href="([^"]*)">More rooms', html)
        address = link and f"/rooms/{link[1].replace('&amp;', '&')}"
    assert seen == seven


def test_a_room_that_vanishes_between_two_pages_hides_no_other(seven, alice):
    first = ask(alice)
    Room.objects.get(slug=first.after).archive(alice)
    assert names(ask(alice, after=first.after)) == seven[3:6]


def test_the_liveliest_come_first_and_are_told_once(seven, alice):
    for name, here in (("drum", 2), ("cello", 5), ("flute", 1)):
        Head.objects.filter(room__slug=name).update(here=here)
    page = ask(alice)
    assert [room.name for room in page.lively] == ["Cello", "drum"]
    assert names(page) == ["alto", "bass", "bassoon"]
    following = ask(alice, after=page.after)
    assert following.lively == []
    assert names(following) == ["Cello", "drum", "flute"]


def test_an_archived_room_is_in_no_part(seven, alice):
    for name in ("alto", "cello"):
        Room.objects.get(slug=name).archive(alice)
    Head.objects.filter(room__slug="cello").update(here=3)
    page = ask(alice)
    assert page.lively == []
    assert names(page) == ["bass", "bassoon", "drum"]


def test_a_deleted_room_is_in_no_part(seven, alice):
    Room.objects.get(slug="alto").delete_room(by=alice)
    assert names(ask(alice)) == ["bass", "bassoon", "Cello"]
    assert names(ask(alice, mine=True)) == ["bass", "bassoon", "Cello"]
    assert names(ask(alice, name="al")) == []


def test_ones_own_rooms_alone(seven, alice, bob):
    for name in ("drum", "bass", "flute", "alto"):
        Room.objects.get(slug=name).admit(bob)
    page = ask(bob, mine=True)
    assert names(page) == ["alto", "bass", "drum"]
    assert {room.role for room in page.rooms} == {"member"}
    assert names(ask(bob, mine=True, after=page.after)) == ["flute"]
    assert {room.role for room in ask(bob).rooms} == {"member", None}


# Search ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("bass", ["bass", "bassoon"]),
        ("BASS", ["bass", "bassoon"]),
        (" #bass ", ["bass", "bassoon"]),
        ("ｂａｓｓ", ["bass", "bassoon"]),
        ("bassoo", ["bassoon"]),
        ("U\u0308b", ["Übung"]),
        ("cel", ["Cello"]),
        ("ass", []),
        ("%", []),
        ("b_ss", []),
        ("\\", []),
        ("b\0", []),
        ("a" * 5_000, []),
    ],
)
def test_rooms_are_found_by_the_beginning_of_their_name(
    typed, found, seven, alice, browse
):
    answer = browse(alice).get("/rooms/", {"q": typed})
    assert answer.status_code == 200
    assert names(answer.context["page"]) == found
    if not found:
        assert "No room’s name starts with" in answer.content.decode()


def test_a_search_has_pages_too(alice, small_pages, browse):
    make_rooms(8, alice)
    Room.objects.create_with_owner("other", alice)
    html = browse(alice).get("/rooms/", {"q": "room", "mine": "1"}).content.decode()
    link = re.search(r'href="([^"]*)">More rooms', html)[1].replace("&amp;", "&")
    assert link == "?q=room&mine=1&after=room-3"
    assert names(browse(alice).get(f"/rooms/{link}").context["page"])[0] == "room-4"


@pytest.mark.parametrize("place", ["after", "before"])
@pytest.mark.parametrize("text", ["", "\0", "zzz", "!", "é" * 5_000, "\ud800"])
def test_any_place_is_answered(place, text, seven, alice, browse):
    address = f"/rooms/?{place}={quote(text, errors='surrogatepass')}"
    assert browse(alice).get(address).status_code == 200


# Costs -----------------------------------------------------------------------------


def cost(query):
    """The most rows that any node of a query's plan handles, when it runs."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
        ((answer,),) = cursor.fetchall()
    (explained,) = json.loads(answer) if isinstance(answer, str) else answer
    return max(rows_of(explained["Plan"]))


def rows_of(node):
    removed = node.get("Rows Removed by Filter", 0)
    yield (node["Actual Rows"] + removed) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from rows_of(child)


@pytest.fixture
def many_rooms(alice, bob):
    """All of them alice's. In twenty are people; the first ones are archived."""
    make_rooms(MANY, alice)
    rooms = Room.objects.order_by("slug")
    ids = list(rooms.values_list("pk", flat=True))
    archived = {*ids[:500], *ids[::5]}
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE rooms_room SET archived_at = now() WHERE id = ANY(%s)",
            [list(archived)],
        )
        cursor.execute(
            "UPDATE rooms_head SET here = 1 WHERE room_id = ANY(%s)", [ids[-20:]]
        )
        cursor.execute("ANALYZE")


@pytest.mark.parametrize(
    "query",
    ["", "q=room-4", "q=r", "after=room-25", "before=room-25", "q=zz", "mine=1"],
)
def test_with_many_rooms_a_page_reads_no_more_rows_than_it_shows(
    query, many_rooms, bob, browse
):
    client = browse(bob)
    client.get("/rooms/")
    with CaptureQueriesContext(connection) as captured:
        assert client.get(f"/rooms/?{query}").status_code == 200
    queries = [one["sql"] for one in captured if one["sql"].startswith("SELECT")]
    assert len(queries) <= 6
    of_rooms = [sql for sql in queries if "rooms_" in sql]
    assert of_rooms
    assert max(map(cost, of_rooms)) <= 2 * (directory.PAGE + directory.LIVELY + 20)


def test_members_are_counted_up_to_a_bound(room, stranger, monkeypatch, browse):
    html = browse(stranger).get("/rooms/").content.decode()
    assert ">3 members<" in html
    monkeypatch.setattr("rooms.models.room.COUNTED_MEMBERS", 2)
    monkeypatch.setattr("rooms.views.COUNTED_MEMBERS", 2)
    html = browse(stranger).get("/rooms/").content.decode()
    assert ">more than 2 members<" in html


# The rooms beside a room -----------------------------------------------------------


def test_beside_a_room_are_only_ones_own_rooms_and_not_too_many(room, bob, browse):
    make_rooms(130)
    rooms = Room.objects.exclude(pk=room.pk)
    Membership.objects.bulk_create(
        Membership(room=one, user=bob) for one in rooms.order_by("slug")[:120]
    )
    client = browse(bob)
    client.get("/rooms/lobby/")
    with CaptureQueriesContext(connection) as captured:
        html = client.get("/rooms/lobby/").content.decode()
    beside = re.findall(r'class="room-link" href', html)
    assert len(beside) == 100
    assert 'href="/rooms/?mine=1"' in html
    stranger = make_person("newcomer")
    room.admit(stranger)
    other = browse(stranger)
    other.get("/rooms/lobby/")
    with CaptureQueriesContext(connection) as few:
        html = other.get("/rooms/lobby/").content.decode()
    assert re.findall(r'data-room="([^"]+)"', html) == ["lobby"]
    assert "mine=1" not in html
    assert len(captured) == len(few)
