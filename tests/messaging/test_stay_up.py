"""A server process that stops, freezes, is overrun, or whose database falls silent."""

import asyncio
import json
import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from websockets.exceptions import ConnectionClosed, InvalidMessage

from messaging.consumers import RoomsConsumer
from messaging.live import limits, runtime
from messaging.live.hub import Hub
from messaging.live.limits import ENTERING, AdmissionLimiter
from messaging.models import Message
from messaging.protocol import RETURN_WITHIN
from messaging.writing.requests import PostMessage, write_batch
from rooms.models import Event, Installation, Node, Visit
from rooms.models.attendance import DEAD_AFTER
from rooms.rights import Refused
from tests.support.raw_websocket import connect
from tests.support.room_client import RoomClient, faults, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = {"FRAMES_PER_SECOND": 1_000}


@sync_to_async
def leaves(room, user):
    kind = Event.Kind.LEAVE
    return list(room.events.filter(kind=kind, actor=user).values_list("data__cause"))


# Stopped ------------------------------------------------------------------------------


async def test_who_is_here_when_the_server_stops_is_told_when_to_come_back(
    serve, room, alice, bob
):
    server = serve()
    keys = [await sign_in(alice), await sign_in(bob)]
    async with AsyncExitStack() as stack:
        lines = [RoomClient(server, room, keys[n % 2]) for n in range(50)]
        for line in lines:
            await stack.enter_async_context(line)
        began = time.monotonic()
        stopping = asyncio.ensure_future(sync_to_async(server.stop)())
        for line in lines:
            assert await line.closed() == 1012
            (farewell,) = line.of_type("error")
            assert (farewell["code"], farewell["within"]) == ("1012", RETURN_WITHIN)
        assert await stopping == 0
        assert time.monotonic() - began < 10
    assert {visit.cause async for visit in Visit.objects.all()} == {"shutdown"}
    assert await Node.objects.filter(stopped_at=None).acount() == 0
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


async def test_pages_go_in_groups_and_nobody_comes_in_meanwhile(serve, room, bob):
    server, key = serve(SOCKETS_PER_PERSON=200), await sign_in(bob)
    async with AsyncExitStack() as stack:
        lines = [RoomClient(server, room, key) for _nth in range(100)]
        for line in lines:
            await stack.enter_async_context(line)
        stopping = asyncio.ensure_future(sync_to_async(server.stop)())
        await lines[0].until(lambda: any(line.close_code for line in lines))
        assert not all(line.close_code for line in lines)
        with pytest.raises((OSError, InvalidMessage)):
            await RoomClient(server, room, key).__aenter__()
        assert await stopping == 0
        assert {await line.closed() for line in lines} == {1012}


async def test_what_was_posted_is_acked_or_can_be_repeated(serve, room, bob):
    server, key = serve(**AT_ONCE), await sign_in(bob)
    keys = [f"post-{nth}" for nth in range(300)]
    async with RoomClient(server, room, key) as two:
        for name in keys:
            post = {"type": "post", "key": name, "body": name}
            with suppress(ConnectionClosed):
                await two.send(json.dumps(post))
            if name == "post-150":
                stopping = asyncio.ensure_future(sync_to_async(server.stop)())
            await asyncio.sleep(0.002)
            if two.close_code:
                break
        await two.closed()
        assert await stopping == 0
    acked = {frame["key"]: frame["seq"] for frame in two.of_type("ack")}
    assert len(acked) > 100
    server.start()
    async with RoomClient(server, room, key, two.cursor) as two:
        for name in keys:
            seq = await two.say(name, key=name)
            assert acked.get(name, seq) == seq
    assert await Message.objects.filter(author=bob).acount() == len(keys)
    assert await faults() == []


# Frozen -------------------------------------------------------------------------------


async def test_a_frozen_server_finds_itself_reaped_and_starts_anew(
    pair, room, alice, bob
):
    frozen, healthy = pair
    session = await sign_in(bob)
    async with RoomClient(healthy, room, await sign_in(alice)) as one:
        async with RoomClient(frozen, room, session) as two:
            await two.seen(await one.say("hi"))
            frozen.pause()
            await one.until(
                lambda: [e for e in one.events if e["kind"] == "leave"],
                seconds=DEAD_AFTER.total_seconds() + 30,
            )
            said = await one.say("where is bob?")
            frozen.resume()
            assert await two.closed() == 1012
            cursor = two.cursor
            two.seqs  # noqa: B018  none missing, doubled or late
        async with RoomClient(frozen, room, session, cursor) as two:
            await two.seen(said)
            await one.event("enter", user={"id": bob.pk, "name": "bob"})
    assert await leaves(room, bob) == [("lost",)]
    assert await leaves(room, alice) == []
    assert await faults() == []


# Overrun ------------------------------------------------------------------------------


async def test_the_gate_lets_a_few_in_at_a_time():
    limiter, inside, most = AdmissionLimiter(), set(), 0

    async def come(nth):
        nonlocal most
        async with limiter.slot():
            inside.add(nth)
            most = max(most, len(inside))
            await asyncio.sleep(0.001)
            inside.discard(nth)

    await asyncio.gather(*(come(nth) for nth in range(3 * ENTERING)))
    assert most == ENTERING
    assert limiter.waiting == 0


async def test_who_finds_the_line_too_long_is_told_to_come_again(monkeypatch):
    monkeypatch.setattr(limits, "MAX_WAITING", 2)
    limiter = AdmissionLimiter()
    async with limiter.slot(), limiter.slot():
        with pytest.raises(Refused) as refused:
            async with limiter.slot():
                pass
        assert refused.value.code == "busy"
    async with limiter.slot():
        assert limiter.waiting == 1


async def test_who_asks_for_a_replay_and_does_not_read_keeps_nobody_out(
    serve, room, alice, bob
):
    server = serve(SOCKETS_PER_PERSON=2 * ENTERING)
    says = [
        PostMessage(room.pk, alice, f"long-{nth}", "x" * 8_000) for nth in range(400)
    ]
    await sync_to_async(write_batch)(says)
    session, other = await sign_in(bob), await sign_in(alice)
    epoch = (await sync_to_async(Installation.current)()).epoch
    path = f"/ws/rooms/{room.slug}/?after=4&epoch={epoch}"
    deaf = [
        await connect(server.port, path, f"sessionid={session}", lambda *_: None)
        for _nth in range(ENTERING)
    ]
    for wire in deaf:
        wire.transport.pause_reading()
    await asyncio.sleep(1)
    began = time.monotonic()
    async with RoomClient(server, room, other):
        assert time.monotonic() - began < 3
    for wire in deaf:
        wire.drop()


async def test_who_reads_slowly_gets_a_whole_replay(serve, room, alice, bob):
    server = serve()
    says = [
        PostMessage(room.pk, alice, f"long-{nth}", "x" * 8_000) for nth in range(400)
    ]
    await sync_to_async(write_batch)(says)
    epoch = (await sync_to_async(Installation.current)()).epoch
    session, frames = await sign_in(bob), []
    path = f"/ws/rooms/{room.slug}/?after=4&epoch={epoch}"

    def hear(opcode, payload):
        frames.append(payload)
        wire.transport.pause_reading()
        asyncio.get_running_loop().call_later(0.1, wire.transport.resume_reading)

    wire = await connect(server.port, path, f"sessionid={session}", hear)
    seqs = []
    async with asyncio.timeout(30):
        while not seqs or seqs[-1] < 405:  # their own coming is the last one
            await asyncio.sleep(0.2)
            read = [json.loads(frame) for frame in frames]
            batches = [frame["events"] for frame in read if frame["type"] == "events"]
            seqs = [event["seq"] for batch in batches for event in batch]
    assert seqs == list(range(5, 406))
    wire.drop()


async def test_a_cancelled_application_leaves_no_socket_behind(monkeypatch):
    """Daphne overlooks one that was cancelled, and its socket would stay open."""
    sent = []

    async def receive():
        raise asyncio.CancelledError

    async def send(message):
        sent.append(message)

    monkeypatch.setattr(runtime, "_current", SimpleNamespace(hub=Hub()))
    with pytest.raises(asyncio.CancelledError):
        await RoomsConsumer()({"type": "websocket"}, receive, send)
    assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", 1012)


# Without an answer of the database ----------------------------------------------------


def backends_of(server):
    """The pids of PostgreSQL's processes that serve this server and are idle."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND state = 'idle'"
        )
        return [pid for (pid,) in cursor.fetchall()]


async def test_a_database_that_falls_silent_is_given_up_and_asked_anew(
    serve, room, bob
):
    """Its processes are stopped: the lines are open, and no answer ever comes."""
    server = serve()
    async with RoomClient(server, room, await sign_in(bob)) as two:
        await two.say("hi")
        silent = await sync_to_async(backends_of)(server)
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert (await two.post("unheard", key="unheard"))["code"] == "try_later"
            assert time.monotonic() - began < 4
            while (await two.post("again", key="again"))["type"] != "ack":
                assert time.monotonic() - began < 20
        finally:
            for pid in silent:
                os.kill(pid, signal.SIGCONT)
        assert two.close_code is None
        assert await two.say("unheard", key="unheard")
    assert "gone silent" in server.log
    assert await faults() == []
