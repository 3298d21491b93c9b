"""What strangers can do below the level of messages."""

import asyncio
import time

import psycopg
import pytest
from asgiref.sync import sync_to_async

from tests.conftest import database_url
from tests.support import resource_usage
from tests.support.raw_websocket import BINARY, PING, connect, frame
from tests.support.room_client import RoomClient, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
MB = 1_000_000


async def raw(server, room, session, hear=lambda opcode, payload: None):
    """A socket of the room by hand."""
    path = f"/ws/rooms/{room.slug}/"
    return await connect(server.port, path, f"sessionid={session}", hear)


@pytest.mark.parametrize(
    "piece", [frame(b"?", PING), frame(b"a", 0, fin=0)], ids=["pings", "fragments"]
)
async def test_a_flood_that_is_no_message_is_closed(serve, room, alice, piece):
    server = serve(FRAMES_PER_SECOND=10)
    welcomed = asyncio.Event()
    wire = await raw(server, room, await sign_in(alice), lambda *_: welcomed.set())
    await welcomed.wait()
    wire.write(frame(b"{", fin=0) + piece * 60)
    await asyncio.sleep(0.5)
    assert not wire.closed.done()  # some are allowed
    wire.write(piece * 200)
    async with asyncio.timeout(5):
        assert await wire.closed == 4429


async def test_pings_whose_answers_nobody_reads_fill_no_memory(serve, room, alice):
    server = serve(FRAMES_PER_SECOND=10)
    wire = await raw(server, room, await sign_in(alice))
    await asyncio.sleep(0.5)
    before = resource_usage.memory(server)
    wire.transport.pause_reading()
    end = time.monotonic() + 4
    pings = frame(b"a" * 125, PING) * 1000
    while time.monotonic() < end and not wire.transport.is_closing():
        wire.write(pings)
        await asyncio.sleep(0.01)
    assert resource_usage.memory(server) - before < 5 * MB
    wire.drop()


async def test_who_talks_before_the_welcome_fills_no_memory(serve, room, alice, bob):
    """The database keeps a handshake waiting, and its sender does not wait."""
    server = serve()
    session = await sign_in(alice)
    async with RoomClient(server, room, await sign_in(bob)) as page:
        await page.say("warm up")
        before = resource_usage.memory(server)
        with await sync_to_async(psycopg.connect)(database_url()) as line:
            await sync_to_async(line.execute)("LOCK TABLE accounts_session")
            wire = await raw(server, room, session)
            sent = await send_much(wire, 100 * MB, seconds=1.5)
            held = resource_usage.memory(server) - before
        wire.drop()
        assert sent > 2 * MB  # it was tried
        assert held < 5 * MB
        await page.say("still here")


async def send_much(wire, size, seconds):
    """Send as many bytes as are taken in this time; how many were."""
    message = frame(b"a" * 250_000, BINARY)
    end = time.monotonic() + seconds
    sent = 0
    while sent < size and time.monotonic() < end:
        if wire.transport.get_write_buffer_size() < 2 * len(message):
            wire.write(message)
            sent += len(message)
        await asyncio.sleep(0.001)
    return sent


async def test_a_line_that_is_reset_behind_its_last_words_has_ended(serve, room, bob):
    """uvloop tells of an error once, when there may still be something to read."""
    server = serve(FRAMES_PER_SECOND=1_000)
    session = await sign_in(bob)
    words = frame(b'{"type":"post","key":"k","body":"%s"}' % (b"a" * 7_000))
    for _nth in range(20):
        welcomed = asyncio.Event()
        wire = await raw(server, room, session, lambda *_, it=welcomed: it.set())
        await welcomed.wait()
        wire.write(3 * words)
        wire.drop()
    await asyncio.sleep(2)
    assert (await sync_to_async(resource_usage.stored)())["open visits"] == 0


async def test_who_does_not_answer_a_close_has_time_to_read_it(serve, room, alice):
    server = serve()
    path = f"/ws/rooms/{room.slug}/?after=nothing"
    cookie = f"sessionid={await sign_in(alice)}"
    wire = await connect(server.port, path, cookie, lambda *frame: None)
    wire.write = lambda data: None
    began = time.monotonic()
    async with asyncio.timeout(10):
        assert await wire.closed == 4403
    assert time.monotonic() - began > 2
