"""How many are in the rooms that pages show: it costs as much as is shown, whatever
there is."""

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import history
from messaging.live import present_counts
from messaging.live.hub import Hub
from messaging.live.present_counts import PresentCounts
from rooms.models import Head, Room
from tests.messaging.test_hub import Reader

pytestmark = pytest.mark.django_db(transaction=True)

SOCKETS = 100


@pytest.fixture
def counts():
    return PresentCounts()


@sync_to_async
def make_rooms(count, here=1):
    slugs = [f"room-{nth:05}" for nth in range(count)]
    made = Room.objects.bulk_create(
        Room(name=slug, slug=slug, skeleton=slug) for slug in slugs
    )
    Head.objects.bulk_create(Head(room=room, here=here) for room in made)
    return slugs


@sync_to_async
def people_come(slugs, here):
    Head.objects.filter(room__slug__in=slugs).update(here=here)


def told(reader):
    """All counts that a reader was told, the latest of each room."""
    return {
        slug: count
        for frame in reader.of_type("rooms")
        for slug, count in frame["here"].items()
    }


def size(readers):
    return sum(len(str(one.received)) for one in readers)


async def test_a_page_is_told_of_the_rooms_it_shows_and_of_no_others(
    counts, alice, bob
):
    slugs = await make_rooms(30)
    readers = [Reader(alice), Reader(bob), Reader(bob)]
    for reader, view in zip(readers, (slugs[:20], slugs[10:], []), strict=True):
        await counts.show(reader, frozenset(view))
    await counts.look()
    await people_come(slugs[9:11], 7)
    await counts.look()
    first, second, none = [told(reader) for reader in readers]
    assert first == dict.fromkeys(slugs[:20], 1) | {slugs[9]: 7, slugs[10]: 7}
    assert second == dict.fromkeys(slugs[10:], 1) | {slugs[10]: 7}
    assert none == {}
    assert [len(reader.of_type("rooms")) for reader in readers] == [2, 2, 0]


async def test_what_is_known_is_told_at_once(counts, alice, bob):
    slugs = await make_rooms(2, here=0)
    first, second = Reader(alice), Reader(bob)
    await counts.show(first, frozenset(slugs[:1]))
    await counts.look()
    await counts.show(second, frozenset(slugs))
    assert told(second) == {slugs[0]: 0}
    await counts.look()
    assert told(second) == {slugs[0]: 0, slugs[1]: 0}
    assert len(first.of_type("rooms")) == 1


async def test_another_show_takes_the_place_of_the_last(counts, alice):
    slugs = await make_rooms(2)
    reader = Reader(alice)
    await counts.show(reader, frozenset(slugs[:1]))
    await counts.look()
    await counts.show(reader, frozenset(slugs[1:]))
    await people_come(slugs, 2)
    await counts.look()
    assert told(reader) == {slugs[0]: 1, slugs[1]: 2}
    assert len(counts) == 1


async def test_nothing_is_kept_of_who_is_gone(alice):
    hub = Hub()
    readers = [Reader(alice) for _nth in range(3)]
    for reader in readers:
        reader.session_hash, reader.feed = "session", None
        hub.enroll(reader)
        await hub.present_counts.show(reader, frozenset(["lobby", "nowhere"]))
    for reader in readers:
        assert len(hub.present_counts) == 2
        hub.leave(reader)
        hub.leave(reader)
    assert [*vars(hub.present_counts).values()] == [{}, {}, {}, {}]


async def test_a_deleted_room_is_as_one_that_never_was(counts, room, alice, admin):
    await people_come(["lobby"], 3)
    before, after = Reader(alice), Reader(alice)
    view = frozenset(["lobby", "nowhere"])
    await counts.show(before, view)
    await counts.look()
    assert told(before) == {"lobby": 3}
    await sync_to_async(room.delete_room)(alice)
    await counts.look()
    assert told(before) == {"lobby": 0}
    await counts.show(after, view)
    await counts.look()
    assert after.received == []
    await sync_to_async(room.recover_room)(admin)
    await people_come(["lobby"], 1)
    await counts.look()
    assert told(before) == told(after) == {"lobby": 1}


async def test_an_archived_room_still_has_its_count(counts, room, alice, admin):
    await sync_to_async(room.archive)(admin)
    reader = Reader(alice)
    await counts.show(reader, frozenset(["lobby"]))
    await people_come(["lobby"], 2)
    await counts.look()
    assert told(reader) == {"lobby": 2}


async def test_many_rooms_are_read_in_turns(counts, alice, monkeypatch):
    monkeypatch.setattr(present_counts, "READ_AT_ONCE", 10)
    slugs = await make_rooms(25)
    reader = Reader(alice)
    await counts.show(reader, frozenset(slugs))
    for so_far in (10, 20, 25):
        await counts.look()
        assert len(told(reader)) == so_far
    await people_come(slugs, 2)
    for _nth in range(3):
        await counts.look()
    assert told(reader) == dict.fromkeys(slugs, 2)


@pytest.mark.parametrize("rooms", [50, 5_000])
async def test_a_look_costs_what_is_shown_not_what_there_is(rooms, alice, counts):
    """100 sockets show 30 rooms each; all rooms have people, who come and go."""
    slugs = await make_rooms(rooms)
    shown = slugs[:30]
    readers = [Reader(alice) for _nth in range(SOCKETS)]
    for reader in readers:
        await counts.show(reader, frozenset(shown))
    for here in (2, 3):
        await people_come(slugs, here)
        await counts.look()
    assert told(readers[0]) == dict.fromkeys(shown, 3)
    assert size(readers) < SOCKETS * 2 * 700  # bytes; 1.5 MB a look it was
    assert len(counts) == 30

    @sync_to_async
    def statements():
        with CaptureQueriesContext(connection) as captured:
            assert len(history.present_counts(shown)) == 30
            history.heads([1])
        return [one["sql"] for one in captured if one["sql"].startswith("SELECT")]

    assert len(await statements()) == 3  # the counts; the heads and the epoch
