"""Who may say of others that they are dead; and a heartbeat that nothing holds up."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models.functions import Now

from messaging.live.heartbeat import Heartbeat
from messaging.writing.requests import EnterRoom, write_batch
from rooms.models import Node, Room
from rooms.models.attendance import DEAD_AFTER, HEARTBEAT_EVERY
from rooms.models.log import writing
from tests.support.room_client import RoomClient, sign_in

LONG_ENOUGH = DEAD_AFTER.total_seconds() + HEARTBEAT_EVERY


def beats(start, seconds):
    return [start + at for at in range(0, int(seconds) + 1, HEARTBEAT_EVERY)]


def steady(heartbeat, moments):
    """Whether it may say so, after a heartbeat at each of these moments."""
    for now in moments:
        heartbeat._note(now)
        yield heartbeat._is_steady(now)


@pytest.fixture
async def heartbeat():
    return Heartbeat(hub=None)


async def test_who_has_just_come_waits_for_as_long_as_others_may_be_silent(heartbeat):
    *early, last = steady(heartbeat, beats(1000, LONG_ENOUGH))
    assert not any(early)
    assert last


async def test_who_was_cut_off_takes_nobody_for_dead_until_they_had_time(heartbeat):
    assert list(steady(heartbeat, beats(1000, LONG_ENOUGH)))[-1]
    back = 1000 + LONG_ENOUGH + DEAD_AFTER.total_seconds()
    assert not heartbeat._is_steady(back)  # and that is seen before the next heartbeat
    *early, last = steady(heartbeat, beats(back, LONG_ENOUGH))
    assert not any(early)
    assert last


# The heartbeat beside the sweep -------------------------------------------------------


def rooms_with_something_due(owner, count):
    """Rooms with a visit of a server that is no more (sync)."""
    node = Node.objects.create(name="gone")
    rooms = [
        Room.objects.create_with_owner(f"room-{nth}", owner) for nth in range(count)
    ]
    write_batch([EnterRoom(room.pk, owner, node.pk) for room in rooms])
    Node.objects.filter(pk=node.pk).update(stopped_at=Now())
    return rooms


@asynccontextmanager
async def locks_of(rooms):
    """Somebody holds the locks of these rooms meanwhile."""
    locked, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold():
        with writing(*(room.pk for room in rooms)):
            loop.call_soon_threadsafe(locked.set)
            let_go.wait(60)
        connection.close()

    holding = asyncio.create_task(asyncio.to_thread(hold))
    await locked.wait()
    try:
        yield
    finally:
        let_go.set()
        await holding


@sync_to_async
def silence():
    """Seconds since the youngest server's last heartbeat, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp() - heartbeat)::float"
            " FROM rooms_node ORDER BY id DESC LIMIT 1"
        )
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
async def test_locked_rooms_hold_up_neither_heartbeat_nor_sweep(serve, room, alice):
    *locked, free = await sync_to_async(rooms_with_something_due)(alice, 9)
    server = serve()
    async with RoomClient(server, room, await sign_in(alice)), locks_of(locked):
        longest, swept = 0, False
        for nth in range(200):
            await asyncio.sleep(0.1)
            longest = max(longest, await silence())
            swept = await free.events.filter(kind="leave").aexists()
            if swept and nth > 150:
                break
        assert swept
        assert longest < 2 * HEARTBEAT_EVERY
