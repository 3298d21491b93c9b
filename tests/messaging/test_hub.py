"""The hub: from any cursor, and whatever happens to the hints, the exact rest."""

import asyncio
import contextlib
import random
import threading
import tracemalloc
from types import SimpleNamespace

import orjson
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from messaging import history, protocol
from messaging.history import PIECE_BYTES, READ_BYTES, Record
from messaging.live import background
from messaging.live.feed import MAX_GAP
from messaging.live.hub import Hub
from messaging.live.ring import Rings
from messaging.protocol import Close, Cursor
from messaging.writing.requests import Entry, PostMessage, write_batch
from rooms.models import Event, Head, Installation, Room
from tests.support.interleavings import Received, make_feed, replayed

pytestmark = pytest.mark.django_db(transaction=True)


class Reader(Received):
    """Stands where a socket stands, and keeps what it is sent."""

    def __init__(self, user, role="member", head=0):
        self.user = user
        self.entry = Entry(visit_id=1, role=role, head=head, epoch="")
        self.frames = None  # no frame writer: delivered one by one
        self.received = []
        self.closed = None

    async def deliver(self, frame):
        await asyncio.sleep(0)
        self.received.append(orjson.loads(frame))

    async def ready(self):
        return self.closed is None

    async def close_with(self, code, detail):
        self.closed = int(code)


@pytest.fixture
async def feed(room):
    feed = await make_feed(room)
    yield feed
    feed.stop()


async def join(feed, reader, cursor):
    await replayed(feed.welcome(reader, cursor), reader, feed)


def say(room, user, count, tag=""):
    """Records of `count` new messages, stored, and not yet told to any hub."""
    keys = [f"{tag}{random.getrandbits(64)}" for _nth in range(count)]
    seqs = write_batch([PostMessage(room.pk, user, key, "hi") for key in keys])
    return history.records(room.pk, seqs[0], seqs[-1])


async def settle(feed, seq):
    async with asyncio.timeout(5):
        while feed.sent < seq:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("cursor", range(0, 15))
async def test_resume_from_any_cursor_is_the_exact_rest(feed, room, bob, cursor):
    records = await sync_to_async(say)(room, bob, 10)
    feed.take(records, 14)
    reader = Reader(bob)
    await join(feed, reader, Cursor(feed.epoch, cursor))
    await settle(feed, 14)
    assert reader.received[0]["type"] == "welcome"
    assert reader.seqs == list(range(cursor + 1, 15))
    assert not reader.of_type("reset")


@pytest.mark.parametrize("ring", [0, 3, 100])
async def test_what_the_ring_does_not_reach_comes_from_the_database(
    feed, room, bob, ring
):
    feed.take(await sync_to_async(say)(room, bob, 30), 34)
    await settle(feed, 34)
    while len(feed._ring) > ring:
        feed._ring.drop_oldest()
    reader = Reader(bob)
    await join(feed, reader, Cursor(feed.epoch, 2))
    assert reader.seqs == list(range(3, 35))


def test_a_record_is_as_large_as_its_words(room, bob):
    records = say(room, bob, 100)
    tracemalloc.start()
    kept = history.records(room.pk, records[0].seq, records[-1].seq)
    size, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 100
    assert size < 100 * 1_000


@pytest.mark.parametrize(
    ("epoch", "seq", "reason"),
    [("another", 3, "epoch"), ("", 3, "epoch"), (None, 99, "ahead")],
)
async def test_a_void_cursor_starts_anew(feed, bob, epoch, seq, reason):
    reader = Reader(bob)
    await join(feed, reader, Cursor(feed.epoch if epoch is None else epoch, seq))
    assert reader.of_type("reset") == [{"type": "reset", "reason": reason, "head": 4}]
    assert reader.seqs == []


async def test_a_cursor_too_far_behind_starts_anew(feed, room, bob):
    for _nth in range(3):
        feed.take(await sync_to_async(say)(room, bob, 200), 0)
    await settle(feed, 604)
    near, far = Reader(bob), Reader(bob)
    await join(feed, near, Cursor(feed.epoch, 604 - MAX_GAP))
    await join(feed, far, Cursor(feed.epoch, 604 - MAX_GAP - 1))
    assert near.seqs == list(range(105, 605))
    assert far.of_type("reset")[0]["reason"] == "gap"


async def test_a_cursor_below_the_floor_starts_anew(feed, room, alice, bob):
    await sync_to_async(say)(room, bob, 3)
    clear = await sync_to_async(room.clear)(alice)
    feed.take([], clear.seq)
    reader = Reader(bob, head=clear.seq)
    await join(feed, reader, Cursor(feed.epoch, 5))
    assert reader.of_type("reset")[0]["reason"] == "cleared"
    assert reader.seqs == []


async def test_a_lost_hint_is_read_from_the_database(feed, room, bob):
    reader = Reader(bob)
    await join(feed, reader, None)
    await sync_to_async(say)(room, bob, 5)  # nobody hears of these
    feed.take(await sync_to_async(say)(room, bob, 1), 10)
    await settle(feed, 10)
    assert reader.seqs == list(range(5, 11))


@pytest.mark.parametrize("seed", range(8))
async def test_hints_may_be_lost_doubled_late_and_out_of_order(feed, room, bob, seed):
    """… and sockets may join whenever they like, from wherever they were."""
    dice = random.Random(seed)
    readers, hints, head = [], [], 4
    for _nth in range(25):
        records = await sync_to_async(say)(room, bob, dice.randint(1, 9))
        head = records[-1].seq
        hints.append((records, head))
        for records, last in dice.sample(hints, k=min(len(hints), dice.randint(0, 3))):
            feed.take(records if dice.random() < 0.7 else [], last)
        if dice.random() < 0.5:
            start = dice.randint(0, head)
            reader = Reader(bob, head=dice.randint(0, head))
            readers.append((start, reader))
            cursor = Cursor(feed.epoch, start)
            reader.joining = asyncio.create_task(join(feed, reader, cursor))
        await asyncio.sleep(dice.choice([0, 0, 0.01]))
    feed.take([], head)
    await settle(feed, head)
    assert readers
    for start, reader in readers:
        await reader.joining
        resets = reader.of_type("reset")
        first = resets[0]["head"] if resets else start
        assert reader.seqs == list(range(first + 1, head + 1))


async def test_who_is_put_out_gets_the_kick_and_nothing_after_it(
    feed, room, alice, bob, carol
):
    target, other = Reader(bob), Reader(carol)
    for reader in (target, other):
        await join(feed, reader, None)
    kick = await sync_to_async(room.kick)(bob, alice, "enough")
    await sync_to_async(say)(room, alice, 3)
    feed.take([], kick.seq + 3)
    await settle(feed, kick.seq + 3)
    assert target.seqs == [kick.seq]
    assert target.closed == 4403
    assert other.seqs == list(range(kick.seq, kick.seq + 4))
    assert other.closed is None


async def test_a_deleted_room_closes_who_is_there_and_who_is_on_the_way(
    feed, room, alice, bob, carol, admin
):
    there, late = Reader(bob), Reader(carol, head=4)
    await join(feed, there, None)
    delete = await sync_to_async(room.delete_room)(alice)
    feed.take([], delete.seq)
    await settle(feed, delete.seq)
    assert (there.seqs, there.closed) == ([delete.seq], 4404)
    await join(feed, late, None)
    assert late.closed == 4404
    back = await sync_to_async(room.recover_room)(admin)
    feed.take([], back.seq)
    await settle(feed, back.seq)
    again = Reader(bob, head=back.seq)
    await join(feed, again, None)
    assert again.closed is None


async def test_who_was_put_out_and_came_back_stays(feed, room, alice, bob, settings):
    settings.KICK_SECONDS = 0
    kick = await sync_to_async(room.kick)(bob, alice)
    back = await sync_to_async(room.admit)(bob)
    reader = Reader(bob, head=back.seq)
    await join(feed, reader, Cursor(feed.epoch, kick.seq - 1))
    await settle(feed, back.seq)
    assert reader.closed is None


async def test_who_is_put_out_while_joining_is_closed_too(feed, room, alice, bob):
    """The socket was let in before the kick, and is still being replayed to."""
    await sync_to_async(say)(room, bob, 50)
    feed.take([], 54)
    await settle(feed, 54)
    reader = Reader(bob, head=54)
    slow = asyncio.Event()
    deliver = reader.deliver

    async def wait_first(frame):
        await slow.wait()
        await deliver(frame)

    reader.deliver = wait_first
    joining = asyncio.create_task(join(feed, reader, Cursor(feed.epoch, 0)))
    await asyncio.sleep(0.05)
    kick = await sync_to_async(room.kick)(bob, alice)
    feed.take([], kick.seq)
    await settle(feed, kick.seq)
    slow.set()
    await joining
    assert reader.closed == 4403


async def test_a_socket_that_cannot_be_written_to_is_closed_and_no_other(
    feed, room, alice, bob
):
    broken, fine = Reader(bob), Reader(alice)
    await join(feed, broken, None)
    await join(feed, fine, None)

    async def fail(frame):
        raise RuntimeError("no line")

    broken.deliver = fail
    feed.take(await sync_to_async(say)(room, bob, 1), 5)
    await settle(feed, 5)
    assert fine.seqs == [5]
    assert broken.closed == 1012  # it begins anew, from its cursor
    feed.take(await sync_to_async(say)(room, alice, 1), 6)
    await settle(feed, 6)
    assert (fine.seqs, fine.closed) == ([5, 6], None)


async def test_a_socket_that_missed_a_frame_gets_no_later_one(feed, room, bob):
    """All frames of a batch may be written in one step of the event loop."""
    broken, failures = Reader(bob), []
    await join(feed, broken, None)

    async def fail_once(frame):
        if not failures:
            failures.append(frame)
            raise RuntimeError("no connection")
        broken.received.append(orjson.loads(frame))

    async def close_with(code, detail):  # as a consumer does, by its hub
        broken.closed = int(code)
        feed.leave(broken)

    broken.deliver, broken.close_with = fail_once, close_with
    records = await sync_to_async(say_long)(room, bob, 40)
    assert len(list(protocol.frames_of(record.json for record in records))) > 1
    feed.take(records, 44)
    await settle(feed, 44)
    assert failures and broken.closed == 1012
    assert broken.seqs == []


async def test_a_socket_is_closed_though_its_farewell_cannot_be_sent(monkeypatch):
    from messaging.consumers import RoomConsumer

    def fail(wire):
        raise RuntimeError("no connection")

    codes = []

    async def close(code):
        codes.append(code)

    live = SimpleNamespace(hub=SimpleNamespace(leave=lambda socket: None))
    monkeypatch.setattr("messaging.consumers.runtime.current", lambda: live)
    consumer = RoomConsumer()
    consumer.frames = SimpleNamespace(encode=lambda frame: frame, write=fail)
    consumer.close = close
    await consumer.close_with(Close.RESTART, "why")
    assert codes == [1012]


async def test_a_fresh_start_tells_every_page(feed, room, bob):
    reader = Reader(bob)
    await join(feed, reader, None)
    await sync_to_async(say)(room, bob, 3)
    await feed.start_over("epoch")
    feed.take(await sync_to_async(say)(room, bob, 1), 8)
    await settle(feed, 8)
    assert reader.of_type("reset") == [{"type": "reset", "reason": "epoch", "head": 7}]
    assert reader.seqs == [8]


@pytest.mark.parametrize("reason", ["gap", "epoch"])
async def test_who_was_put_out_in_what_is_passed_over_hears_no_more(
    feed, room, alice, bob, reason
):
    readers = Reader(alice), Reader(bob)
    for reader in readers:
        await join(feed, reader, None)
    await sync_to_async(room.kick)(bob, by=alice)
    await feed.start_over(reason)
    feed.take(await sync_to_async(say)(room, alice, 1), 6)
    await settle(feed, 6)
    assert [reader.closed for reader in readers] == [None, 4403]
    assert [reader.seqs for reader in readers] == [[6], []]
    assert not readers[1].of_type("reset")


async def test_after_a_restore_a_kick_is_above_where_one_came_in(
    hub, feed, room, alice, bob
):
    """Their number was that of another log, and may have been far above."""
    reader = Reader(bob, head=99)
    await join(feed, reader, None)
    await sync_to_async(Installation.renew)()
    await feed.start_over("epoch")
    await sync_to_async(room.kick)(bob, by=alice)
    feed.take(await sync_to_async(history.records)(room.pk, 5, 5), 5)
    await settle(feed, 5)
    assert reader.closed == 4403


async def test_who_was_let_in_before_a_restore_comes_again(hub, feed, room, bob):
    reader = Reader(bob, head=99)
    reader.entry = Entry(visit_id=1, role="member", head=99, epoch="before")
    await hub.join(reader, room.pk, None)
    assert reader.closed == 1012
    assert reader.received == []


async def test_a_fresh_start_forgets_what_was_announced(feed, room, bob):
    """After a restore the old numbers are above the head; nothing is missing there."""
    feed.take([], 99)
    assert feed._reading
    await feed.start_over("epoch")
    await asyncio.wait([feed.catch_up("poll")])
    feed.take(await sync_to_async(say)(room, bob, 1), 5)
    assert feed.known == 5
    assert feed._reading is None


@pytest.fixture
async def hub(feed, room):
    hub = Hub()
    hub.feeds[room.pk] = feed
    return hub


def go_back(room, seq):
    """What a restore does to a log: it ends at `seq`, and the epoch is another."""
    room.events.filter(seq__gt=seq).delete()
    Head.objects.filter(room=room).update(seq=seq)
    Installation.renew()


async def test_a_log_that_went_back_mixes_with_nothing(hub, feed, room, bob):
    reader = Reader(bob)
    await join(feed, reader, None)
    hub.sockets.add(reader)
    feed.take(await sync_to_async(say)(room, bob, 3), 7)
    await settle(feed, 7)
    await sync_to_async(go_back)(room, 4)
    new = await sync_to_async(Installation.current)()
    # The numbers 5 to 9 are given again; what follows 7 must not be taken for its rest.
    records = await sync_to_async(say)(room, bob, 5)
    hub.grown(room.pk, new.epoch, records)
    hub._hint({"room": room.pk, "epoch": new.epoch, "last": 9, "records": records})
    await asyncio.sleep(0.1)
    assert reader.seqs == [5, 6, 7]
    await hub._compare_heads()
    assert reader.of_type("reset") == [{"type": "reset", "reason": "epoch", "head": 9}]
    feed.take(await sync_to_async(say)(room, bob, 1), 10)
    await settle(feed, 10)
    assert reader.seqs == [5, 6, 7, 10]
    assert feed.epoch == new.epoch


async def test_a_reader_that_is_behind_sees_that_the_log_is_another(feed, room, bob):
    reader = Reader(bob)
    await join(feed, reader, None)
    await sync_to_async(say)(room, bob, 3)
    await sync_to_async(Installation.renew)()
    feed.take([], 7)
    await asyncio.sleep(0.2)
    assert reader.of_type("reset") == [{"type": "reset", "reason": "epoch", "head": 7}]
    assert reader.seqs == []


async def test_who_comes_in_after_a_restore_sees_the_new_log(hub, feed, room, bob):
    await sync_to_async(go_back)(room, 3)
    new = await sync_to_async(Installation.current)()
    reader = Reader(bob)
    reader.entry = Entry(visit_id=1, role="member", head=3, epoch=new.epoch)
    await hub.join(reader, room.pk, Cursor("before", 4))
    assert (reader.received[0]["epoch"], reader.received[0]["head"]) == (new.epoch, 3)
    assert reader.of_type("reset") == [{"type": "reset", "reason": "epoch", "head": 3}]


@pytest.mark.parametrize("is_restore", [False, True])
async def test_a_room_that_is_gone_closes_its_sockets_and_hurts_no_other(
    hub, feed, room, alice, bob, is_restore
):
    attic = await sync_to_async(Room.objects.create_with_owner)("attic", alice)
    hub.feeds = {attic.pk: await make_feed(attic)}
    hub.feeds[room.pk] = feed
    lost, reader = Reader(alice), Reader(bob)
    for socket, one in ((lost, hub.feeds[attic.pk]), (reader, feed)):
        await join(one, socket, None)
        hub.sockets.add(socket)
    await sync_to_async(attic.delete)()
    if is_restore:
        await sync_to_async(Installation.renew)()
    for _nth in range(2):
        await hub._compare_heads()
    assert lost.closed == 4404
    assert reader.closed is None
    assert bool(reader.of_type("reset")) == is_restore


async def test_nothing_of_before_comes_after_a_reset(feed, room, bob):
    """A fan-out that is on its way ends first."""
    slow, fast = Reader(bob), Reader(bob)
    deliver, gate = slow.deliver, asyncio.Event()

    async def wait(frame):
        await gate.wait()
        await deliver(frame)

    for reader in (slow, fast):
        await join(feed, reader, None)
    slow.deliver = wait
    feed.take(await sync_to_async(say)(room, bob, 3), 7)
    await asyncio.sleep(0.05)
    await sync_to_async(Installation.renew)()
    starting = asyncio.create_task(feed.start_over("epoch"))
    await asyncio.sleep(0.05)
    gate.set()
    await starting
    for reader in (slow, fast):
        assert [one["type"] for one in reader.received] == [
            "welcome",
            "events",
            "reset",
        ]


async def test_the_fold_of_the_log_is_what_a_fresh_load_shows(
    feed, room, alice, bob, carol, node
):
    from messaging.writing.requests import EnterRoom, ExitRoom

    def come_and_go():
        _, bobs, _ = write_batch(
            [EnterRoom(room.pk, user, node.pk) for user in (alice, bob, carol)]
        )
        write_batch([ExitRoom(room.pk, bobs.visit_id, "signed out")])
        room.give_role(carol, "member", by=alice)
        return room.set_topic("News", by=alice).seq

    feed.take([], await sync_to_async(come_and_go)())
    await settle(feed, 10)
    start, _records = await sync_to_async(history.opening)(room.pk)
    assert list(feed.state.present.values()) == start.here
    assert [person["name"] for person in start.here] == ["alice", "carol"]
    assert (feed.state.room, feed.state.floor, feed.sent) == (
        start.room,
        start.floor,
        start.head,
    )


def test_reader_is_like_a_socket():
    """The stand-in has what the feed uses of a consumer."""
    from messaging.consumers import RoomConsumer

    consumer = RoomConsumer()
    for name in vars(Reader(SimpleNamespace(pk=1))):
        if name not in ("received", "closed"):
            assert hasattr(consumer, name)
    assert callable(consumer.deliver) and callable(consumer.close_with)


async def test_who_is_put_out_before_they_are_here_does_not_read_on(
    room, alice, bob, stranger
):
    """Their entry is stored, then comes the kick, and then the room is opened."""
    arrived = (await Head.objects.aget(room=room)).seq
    await sync_to_async(room.kick)(bob, by=alice)
    feed = await make_feed(room)
    late, other = Reader(bob, head=arrived), Reader(alice, head=arrived)
    for reader in (late, other):
        await join(feed, reader, None)
    feed.stop()
    assert (late.closed, late.received) == (4403, [])
    assert (other.closed, len(other.of_type("welcome"))) == (None, 1)
    assert late not in feed.sockets


async def test_who_closes_while_catching_up_is_sent_no_more(feed, room, bob):
    feed.take(await sync_to_async(say)(room, bob, 300), 304)
    await settle(feed, 304)
    reader = Reader(bob)
    reader.closed = 4408
    await join(feed, reader, Cursor(feed.epoch, 4))
    assert reader.seqs == []


async def test_the_ring_holds_a_bounded_number_of_bytes(feed, room, bob, monkeypatch):
    monkeypatch.setattr("messaging.live.ring.RING_BYTES", 10_000)
    reader = Reader(bob)
    await join(feed, reader, None)
    for _nth in range(10):
        feed.take(await sync_to_async(say)(room, bob, 20), 0)
        await settle(feed, feed.known)
    assert reader.seqs == list(range(5, 205))
    assert sum(len(record.json) for record in feed._ring) <= 10_000
    assert [*feed._ring][-1].seq == 204


def say_long(room, user, count):
    """As `say`, of 20 KB each."""
    keys = [f"{random.getrandbits(64)}" for _nth in range(count)]
    seqs = write_batch([PostMessage(room.pk, user, key, "x" * 8_000) for key in keys])
    events = Event.objects.of(room.pk).between(seqs[0], seqs[-1])
    return [Record.of(fields) for fields in history.fields_of(events)]


def size_of(records):
    return sum(len(record.json) for record in records)


async def test_a_room_opens_with_a_bounded_number_of_bytes(room, bob):
    await sync_to_async(say_long)(room, bob, 150)
    _start, records = await sync_to_async(history.opening)(room.pk)
    assert records[-1].seq == 154
    assert READ_BYTES * 0.9 < size_of(records) <= READ_BYTES


@pytest.mark.parametrize("is_in_ring", [True, False])
async def test_a_long_replay_goes_out_in_pieces(feed, room, bob, is_in_ring):
    """No more than a piece is read before the browser has taken the one before it."""
    feed.take(await sync_to_async(say_long)(room, bob, 100), 104)
    await settle(feed, 104)
    while not is_in_ring and feed._ring.drop_oldest():
        pass
    reader, pieces = Reader(bob, head=104), []
    missed = feed._missed

    async def ready():
        pieces.append(0)
        return True

    async def read(seen, upto):
        piece = await missed(seen, upto)
        pieces[-1] += size_of(piece)
        return piece

    reader.ready, feed._missed = ready, read
    await join(feed, reader, Cursor(feed.epoch, 4))
    assert reader.seqs == list(range(5, 105))
    assert len(pieces) > 5
    assert max(pieces) <= PIECE_BYTES


async def test_who_was_put_out_far_back_is_found_piece_by_piece(room, alice, bob):
    await sync_to_async(room.kick)(bob, by=alice)
    await sync_to_async(say_long)(room, alice, 100)
    feed = await make_feed(room)
    late = Reader(bob, head=4)
    await join(feed, late, None)
    feed.stop()
    assert (late.closed, late.received) == (4403, [])


async def test_all_rings_share_one_budget(room, alice, bob):
    rings = Rings(budget=800_000)
    rooms = [room]
    for name in ("attic", "cellar"):
        rooms.append(await sync_to_async(Room.objects.create_with_owner)(name, alice))
    feeds = [await make_feed(one, rings) for one in rooms]
    useful, idle, growing = feeds
    for feed in (useful, idle):
        feed.take(await sync_to_async(say_long)(feed_room(rooms, feed), alice, 20), 0)
        await settle(feed, feed.known)
    reader = Reader(alice)
    await join(useful, reader, Cursor(useful.epoch, useful.sent - 5))
    growing.take(await sync_to_async(say_long)(rooms[2], alice, 25), 0)
    await settle(growing, growing.known)
    assert rings.size == sum(feed._ring.size for feed in feeds) <= 800_000
    assert (len(useful._ring), len(growing._ring)) == (24, 26)
    assert len(idle._ring) < 10
    reader = Reader(alice)  # what was dropped is read
    await join(idle, reader, Cursor(idle.epoch, 1))
    assert reader.seqs == list(range(2, 22))
    for feed in feeds:
        feed.stop()
    assert rings.size == 0


def feed_room(rooms, feed):
    return next(room for room in rooms if room.pk == feed.room_id)


async def test_what_was_not_sent_yet_is_never_dropped(feed, room, bob):
    feed._ring._rings._budget = 1_000
    reader = Reader(bob)
    await join(feed, reader, None)
    for _nth in range(5):
        feed.take(await sync_to_async(say_long)(room, bob, 5), 0)
        await settle(feed, feed.known)
    assert reader.seqs == list(range(5, 30))


# Those who wait for the same ----------------------------------------------------------


@contextlib.asynccontextmanager
async def events_locked():
    """Nobody can read an event meanwhile."""
    locked, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def lock():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE rooms_event IN ACCESS EXCLUSIVE MODE")
            loop.call_soon_threadsafe(locked.set)
            let_go.wait(60)
        connection.close()

    locking = asyncio.create_task(asyncio.to_thread(lock))
    await locked.wait()
    try:
        yield
    finally:
        let_go.set()
        await locking


async def first_gives_up(joinings):
    """The first of these tasks runs into a time-out; the rest goes on."""
    await asyncio.sleep(0.2)
    assert not any(joining.done() for joining in joinings)
    joinings[0].cancel()
    await asyncio.sleep(0.1)
    return joinings[1:]


async def test_one_who_gives_up_leaves_the_room_open_to_the_others(room, alice, bob):
    hub = Hub()
    epoch = (await sync_to_async(Installation.current)()).epoch
    readers = [Reader(user) for user in (alice, bob, bob)]
    for reader in readers:
        reader.entry = Entry(1, "member", 4, epoch)
    async with events_locked():
        joinings = [
            asyncio.create_task(hub.join(reader, room.pk, None)) for reader in readers
        ]
        waiting = await first_gives_up(joinings)
    assert await asyncio.gather(*waiting) == [4, 4]
    hub.feeds[room.pk].stop()


async def test_one_who_gives_up_leaves_the_reading_to_the_others(feed, room, bob):
    await sync_to_async(say)(room, bob, 3)
    readers = [Reader(bob, head=7) for _nth in range(3)]
    async with events_locked():
        joinings = [asyncio.create_task(join(feed, one, None)) for one in readers]
        waiting = await first_gives_up(joinings)
    await asyncio.gather(*waiting)
    assert [one.of_type("welcome")[0]["head"] for one in readers[1:]] == [7, 7]


async def test_one_who_gives_up_leaves_a_fresh_start_whole(hub, feed, room, alice, bob):
    """They found that a backup was restored; all other pages have to begin anew."""
    others = [Reader(alice) for _nth in range(3)]
    for other in others:
        await join(feed, other, None)
    await sync_to_async(Installation.renew)()
    late = Reader(bob)
    epoch = (await sync_to_async(Installation.current)()).epoch
    late.entry = Entry(1, "member", 4, epoch)
    async with events_locked():
        joining = asyncio.create_task(hub.join(late, room.pk, None))
        await first_gives_up([joining])
    async with asyncio.timeout(5):
        while not all(other.of_type("reset") for other in others):
            await asyncio.sleep(0.01)


# Many at once -------------------------------------------------------------------------


class InertReader(Reader):
    """One of very many."""

    session_hash = "session"
    feed = None

    async def close_with(self, code, detail):
        self.closed = int(code)


@pytest.mark.parametrize("by", ["close_all", "session", "feed"])
async def test_closing_a_thousand_sockets_holds_the_loop_up_for_nobody(
    hub, feed, bob, by
):
    tabs = [InertReader(bob) for _nth in range(1000)]
    for tab in tabs:
        hub.enroll(tab)
        feed.sockets.add(tab)
    close = {
        "close_all": hub.close_all,
        "session": lambda *_: hub._end_session("session"),
        "feed": feed._close_all,
    }[by]
    work = asyncio.create_task(close(1012, ""))
    at_once, so_far = [], 0  # sockets closed while the loop did nothing else
    while not work.done():
        await asyncio.sleep(0)
        closed = sum(tab.closed is not None for tab in tabs)
        at_once.append(closed - so_far)
        so_far = closed
    assert sum(at_once) == 1000
    assert max(at_once) <= 20  # a time would be that of all else the machine does


async def test_work_in_the_background_is_held_and_its_fault_is_told(caplog):
    async def fail():
        raise RuntimeError("no luck")

    task = background.start(fail())
    assert task in background.running
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert task not in background.running
    assert "no luck" in caplog.text


async def test_the_end_of_a_session_is_held_until_it_is_done(hub, feed, bob):
    tab = InertReader(bob)
    hub.enroll(tab)
    hub.session_ended("session", goes_on=False)
    assert background.running
    await asyncio.wait(background.running)
    assert tab.closed == 4401
