"""Live: what a room's log grows by goes to every socket of this process that shows it.

One Feed a room, one Hub a process. A feed knows the log up to a number (`known`), has
sent it up to a number (`sent`), and never skips one: news that do not continue what it
knows make it read PostgreSQL. So the channel layer may lose, double or delay whatever
it likes, and every socket still gets each number once, in order.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice

import orjson
from django.utils.translation import gettext_lazy as _

from accounts.sessions import alive
from messaging import history, metrics, protocol
from messaging.database import run_in_database
from messaging.history import Record, Snapshot
from messaging.live import background
from messaging.live.fanout import Groups, write_to_all
from messaging.live.present_counts import PresentCounts
from messaging.live.relay import Relay
from messaging.live.ring import Ring, Rings
from messaging.protocol import Close
from rooms.models import Event, Room

logger = logging.getLogger(__name__)

POLL_EVERY = (1.0, 1.6)  # seconds, at random between: bounds the delay without Redis
SWEEP_EVERY = 10  # seconds between two looks at whether the sessions still live
SESSIONS_AT_ONCE = 500  # in one query of such a look
MAX_GAP = 500  # events; a socket that is further behind starts anew
READ_AT_ONCE = 500  # events, or READ_BYTES of them
MAX_READS = 8  # for a feed that is behind; then it starts anew, with all its sockets
CLOSE_AT_ONCE = 20  # sockets closed before the loop may do something else
REST_FACTOR, MAX_REST = 2, 0.02
# Of sockets that are sent away. A hundred a second, and whatever their number, all gone
# in 10 s: the other processes take them in meanwhile.
GROUP, GROUP_EVERY, MAX_GROUPS = 20, 0.2, 50
KEEP_IDLE = 30  # seconds that a feed without sockets is kept
REVOKES: dict[str, str] = {Event.Kind.KICK: "target", Event.Kind.PART: "user"}
EVERYBODY = -1  # in place of the id of who is put out: the room was deleted
PUT_OUT = (Close.NOT_ALLOWED, _("You are no member any more."))
DELETED = (Close.NO_SUCH_ROOM, _("This room was deleted."))


class Feed:
    """The live end of one room in this process."""

    def __init__(
        self, room_id: int, start: Snapshot, records: list[Record], rings: Rings
    ) -> None:
        self.room_id = room_id
        self._ring = Ring(rings)  # up to `known`, reaching below `sent`
        self.sockets: set = set()  # live, or on their way
        self._live: set = set()  # those that get what is sent
        self._news = asyncio.Event()
        self._reading: asyncio.Task | None = None
        self._sending = asyncio.Lock()
        self._start_at(start, records)
        self._task = asyncio.create_task(self._run())

    def _start_at(self, start: Snapshot, records: list[Record]) -> None:
        self.epoch = start.epoch
        self.known = self.sent = start.head
        self._announced = start.head  # the highest number heard of
        self._heard_at = 0.0  # the time of the first news of what waits to be sent
        self.floor = start.floor
        self.room = start.room
        self.here = {person["id"]: person for person in start.here}
        self._ring.begin(records, self.sent)

    def stop(self) -> None:
        self._task.cancel()
        self._ring.leave()

    # News -----------------------------------------------------------------------------

    def take(self, records: list[Record], last: int) -> None:
        """News of the log, which has grown to at least `last`."""
        if self._announced <= self.sent:
            self._heard_at = time.monotonic()
        for record in records:
            if record.seq == self.known + 1:
                self._ring.append(record)
                self.known = record.seq
        self._news.set()
        self._announced = max(self._announced, last, self.known)
        if self._announced > self.known:
            self.catch_up("news")

    def catch_up(self, found_by: str) -> asyncio.Task:
        """Read what is missing from the database; one reader at a time."""
        if self._reading is None:
            metrics.GAPS.labels(found_by).inc()
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._has_read)
        return self._reading

    async def _read(self) -> None:
        for _round in range(MAX_READS):
            first, last = self.known + 1, self.known + READ_AT_ONCE
            sought = self._announced
            epoch, records = await run_in_database(
                history.growth, self.room_id, first, last
            )
            if epoch != self.epoch:
                return await self.start_over("epoch")
            numbers = [record.seq for record in records]
            if numbers != list(range(first, first + len(numbers))):
                metrics.HOLES.inc()
                raise RuntimeError(
                    f"the log of room {self.room_id} has a hole: {numbers}"
                )
            self.take(records, last=0)
            is_more = records or self._announced > sought  # heard of meanwhile
            if self.known >= self._announced or not is_more:
                return
        await self.start_over("gap")

    def _has_read(self, reading: asyncio.Task) -> None:
        self._reading = None
        if not reading.cancelled() and reading.exception():
            logger.warning("what is missing was not read: %r", reading.exception())

    async def start_over(self, reason: str) -> None:
        """Begin at the room's head again, and have every page do the same; but not who
        was put out in what is passed over, or is no member after a restore."""
        async with self._sending:  # nothing of before may come after the reset
            asked = {socket: socket.user.pk for socket in self._live}
            try:
                opened, members = await run_in_database(
                    history.reopening, self.room_id, set(asked.values())
                )
            except Room.DoesNotExist:
                gone = _("There is no such room.")
                return await self._shut_all(Close.NO_SUCH_ROOM, gone)
            self._start_at(*opened)
            async for socket in in_turns(self.sockets):
                if socket not in asked:
                    await socket.shut(Close.RESTART, _("The room starts anew."))
                elif asked[socket] not in members:
                    await self._shut_out(socket)
                elif socket.entry:
                    await self._reset(socket, reason)

    async def _reset(self, socket, reason: str) -> None:
        # From here on it is as if they had just come in: what puts them out is above.
        socket.entry = replace(socket.entry, head=self.sent, epoch=self.epoch)
        metrics.RESETS.labels(reason).inc()
        await socket.deliver(protocol.reset(reason, self.sent))

    async def _shut_all(self, code: int, detail) -> None:
        async for socket in in_turns(self.sockets):
            await socket.shut(code, detail)

    # Fan-out --------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._send_news()
            except Exception:
                logger.exception("room %s: its sockets begin anew", self.room_id)
                await self._shut_all(Close.RESTART, _("The room starts anew."))

    async def _send_news(self) -> None:
        """Send what there is; what comes meanwhile is the next frame. A rest after each
        one, as long as it took, lets more come together when there is much to do."""
        loop = asyncio.get_running_loop()
        while self.sent < self.known:
            began = loop.time()
            async with self._sending:
                await self._send_batch()
            rest = REST_FACTOR * (loop.time() - began)
            await asyncio.sleep(min(rest, MAX_REST))

    async def _send_batch(self) -> None:
        """Send all that waits as one frame, but nothing after somebody was put out."""
        batch, leaving, heard_at = [], None, self._heard_at
        for record in self._ring.between(self.sent, self.known):
            batch.append(record.json)
            self.sent = record.seq
            leaving = self._fold(record)
            if leaving:
                break
        for frame in protocol.frames_of(batch):
            await self._write(frame)
        metrics.DELIVERY.observe(time.monotonic() - heard_at)
        if leaving:
            await self._put_out(leaving)
        self._ring.trim(self.sent)

    async def _write(self, frame: bytes) -> None:
        await write_to_all(self._live, frame)

    async def _put_out(self, user_id: int) -> None:
        """Close the sockets that a person opened before they were put out."""
        theirs = [s for s in self.sockets if user_id in (s.user.pk, EVERYBODY)]
        async for socket in in_turns(theirs):
            if socket.entry.head < self.sent:
                await self._shut_out(socket, user_id)

    async def _shut_out(self, socket, user_id: int | None = None) -> None:
        self.leave(socket)
        await socket.shut(*(DELETED if user_id == EVERYBODY else PUT_OUT))

    def _fold(self, record: Record) -> int | None:
        """Keep who is here, and the room's facts, as of this record.

        Returns the id of the person whose sockets must close, if there is one, or
        EVERYBODY.
        """
        if record.kind == Event.Kind.MESSAGE:
            return None
        event = orjson.loads(record.json)
        user = event.get("user", {})
        match record.kind:
            case Event.Kind.ENTER:
                entered = {**user, "role": event["role"], "since": event["at"]}
                self.here[user["id"]] = entered
            case Event.Kind.LEAVE:
                self.here.pop(user["id"], None)
            case Event.Kind.ROLE:
                if event["target"]["id"] in self.here:
                    self.here[event["target"]["id"]]["role"] = event["role"]
            case Event.Kind.TOPIC:
                self.room["topic"] = event["topic"]
            case Event.Kind.ARCHIVE:
                self.room["archived"] = event["archived"]
            case Event.Kind.CLEAR:
                self.floor = event["seq"]
            case Event.Kind.RESTORE:
                self.floor = event["floor"]
        return put_out_by(record)

    # Joining --------------------------------------------------------------------------

    async def welcome(self, socket, cursor: protocol.Cursor | None) -> int | None:
        """Take a socket in. Returns the number from which `replay` has to go on; None
        where the person may not read on."""
        self.sockets.add(socket)
        await self._reach(max(socket.entry.head, cursor.seq if cursor else 0))
        if who := await self._has_put_out(socket):
            await self._shut_out(socket, who)
            return None
        head, reason = self.sent, self._reset_reason(cursor)
        await socket.deliver(self._welcome(socket))
        if reason:
            metrics.RESETS.labels(reason).inc()
            await socket.deliver(protocol.reset(reason, head))
        return head if reason or cursor is None else cursor.seq

    async def replay(self, socket, seen: int) -> None:
        """Send a socket what it missed, as fast as it reads; then it is live."""
        while seen < self.sent:
            # The log may grow meanwhile: only who has all that was sent goes live, in
            # the same breath in which that is seen.
            if not await socket.ready():  # before it is read: what waits takes memory
                return
            missed = await self._missed(seen, self.sent)
            for frame in protocol.frames_of(record.json for record in missed):
                await socket.deliver(frame)
            seen = missed[-1].seq
        if socket in self.sockets:  # it may have closed meanwhile
            self._live.add(socket)

    async def _has_put_out(self, socket) -> int | None:
        """The person's id, or EVERYBODY, if they were put out after they arrived and
        before the socket was here; what comes later is `_send_batch`'s to see."""
        seen = socket.entry.head
        while seen < self.sent:
            since = await self._missed(seen, self.sent)
            for who in map(put_out_by, since):
                if who in (socket.user.pk, EVERYBODY):
                    return who
            seen = since[-1].seq
        return None

    def leave(self, socket) -> None:
        self.sockets.discard(socket)
        self._live.discard(socket)

    async def _reach(self, seq: int) -> None:
        """Wait until the feed is at `seq`, if the log is."""
        if self.sent >= seq:
            return
        for _round in range(2):  # what is being read already may end too early
            if self.known < seq:  # others wait for the same reading
                await asyncio.shield(self.catch_up("join"))
        while self.sent < min(seq, self.known):
            await asyncio.sleep(0.005)

    def _reset_reason(self, cursor: protocol.Cursor | None) -> str | None:
        if cursor is None:
            return None
        if cursor.epoch != self.epoch:
            return "epoch"
        if cursor.seq > self.sent:
            return "ahead"
        if cursor.seq < self.floor - 1:
            return "cleared"
        return "gap" if self.sent - cursor.seq > MAX_GAP else None

    def _welcome(self, socket) -> bytes:
        return protocol.encode(
            {
                "type": "welcome",
                "epoch": self.epoch,
                "head": self.sent,
                "floor": self.floor,
                "room": self.room,
                "you": {**protocol.person(socket.user), "role": socket.entry.role},
                "here": list(islice(self.here.values(), protocol.MAX_HERE)),
                "here_count": len(self.here),
            }
        )

    async def _missed(self, seen: int, upto: int) -> list[Record]:
        """The records after `seen` up to `upto`, or the first PIECE_BYTES of them."""
        if self._ring.reaches(seen + 1):
            return self._ring.replay(seen, upto, history.PIECE_BYTES)
        return await run_in_database(history.records, self.room_id, seen + 1, upto)


def put_out_by(record: Record) -> int | None:
    """The id of the person who is no member any more by this record, if any, or
    EVERYBODY."""
    if record.kind == Event.Kind.DELETE_ROOM:
        return EVERYBODY
    who = REVOKES.get(record.kind)
    return orjson.loads(record.json)[who]["id"] if who else None


async def in_turns(sockets) -> AsyncIterator:
    """Each of the sockets there are now; the loop does something else between some."""
    for count, socket in enumerate(list(sockets), start=1):
        yield socket
        if count % CLOSE_AT_ONCE == 0:
            await asyncio.sleep(0)


def slices(items: list, size: int) -> Iterator[list]:
    """The items in lists of `size`; the last one may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


class Hub:
    """All feeds and sockets of one process, and what keeps them true."""

    def __init__(self) -> None:
        self.relay = Relay(self._hint, self._look_again)
        self.rings = Rings()
        self.feeds: dict[int, Feed] = {}
        self.sockets: set = set()
        self.present_counts = PresentCounts()
        self._by_session = Groups()  # by the hash of its key
        self._by_person = Groups()  # by id
        self._opening: dict[int, asyncio.Task] = {}
        self._heard_of: set[int] = set()  # rooms with news while they were opened
        self._look = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # Sockets --------------------------------------------------------------------------

    def enroll(self, socket) -> None:
        """From now on the socket ends with its session."""
        self.sockets.add(socket)
        self._by_session.add(socket.session_hash, socket)
        self._by_person.add(socket.user.pk, socket)

    def sockets_of(self, user) -> int:
        """How many sockets a person has in this process."""
        return len(self._by_person.get(user.pk, ()))

    async def join(self, socket, room_id: int, cursor) -> int | None:
        """Make a socket a view of a room, live once its feed has replayed from the
        number that is returned; None: it was closed."""
        socket.feed = feed = await self._feed(room_id)
        if socket.entry.epoch != feed.epoch:  # a backup was restored just now
            # Whoever asks for it may be cut off; all the room's sockets need it whole.
            await asyncio.shield(background.start(feed.start_over("epoch")))
        if socket.entry.epoch != feed.epoch:  # let in by the log before the restore
            await socket.shut(Close.RESTART, _("The room starts anew."))
            return None
        return await feed.welcome(socket, cursor)

    def leave(self, socket) -> None:
        """Forget a socket; as often as one likes."""
        self.sockets.discard(socket)
        self.present_counts.forget(socket)
        self._by_session.drop(socket.session_hash, socket)
        self._by_person.drop(socket.user and socket.user.pk, socket)
        if feed := socket.feed:
            feed.leave(socket)
            if not feed.sockets:
                self._loop.call_later(KEEP_IDLE, self._drop_idle, feed)

    async def shut_all(self, code: int, detail) -> None:
        async for socket in in_turns(self.sockets):
            await socket.shut(code, detail)

    async def send_all_away(self) -> None:
        """Have all pages come back later, group by group, as the process stops."""
        while sockets := list(self.sockets):
            random.shuffle(sockets)
            size = max(GROUP, len(sockets) // MAX_GROUPS)
            for start in range(0, len(sockets), size):
                group = sockets[start : start + size]
                await asyncio.gather(*(socket.send_away() for socket in group))
                if start + size < len(sockets):
                    await asyncio.sleep(GROUP_EVERY * random.uniform(0.5, 1.5))

    async def _end_session(self, name: str, goes_on: bool = False) -> None:
        async for socket in in_turns(self._by_session.get(name, ())):
            if goes_on:  # under a new key, which the browser has by now
                await socket.shut(Close.RESTART, _("Your session was renewed."))
            else:
                await socket.shut(Close.SIGNED_OUT, _("You are signed out."))

    # Feeds ----------------------------------------------------------------------------

    async def _feed(self, room_id: int) -> Feed:
        while room_id not in self.feeds:
            if room_id not in self._opening:
                self._opening[room_id] = asyncio.create_task(self._open(room_id))
            # One of those who wait may be cut off; the others wait on.
            await asyncio.shield(self._opening[room_id])
        return self.feeds[room_id]

    async def _open(self, room_id: int) -> None:
        try:
            await self.relay.follow(room_id)  # first, so that nothing falls between
            start, records = await run_in_database(history.opening, room_id)
            self.feeds[room_id] = feed = Feed(room_id, start, records, self.rings)
            if room_id in self._heard_of:  # perhaps of what came after it was read
                feed.catch_up("join")
        finally:
            self._heard_of.discard(room_id)
            del self._opening[room_id]

    def _drop_idle(self, feed: Feed) -> None:
        if feed.sockets or self.feeds.get(feed.room_id) is not feed:
            return
        del self.feeds[feed.room_id]
        feed.stop()
        background.start(self._unfollow(feed.room_id))

    async def _unfollow(self, room_id: int) -> None:
        if room_id not in self.feeds and room_id not in self._opening:
            await self.relay.unfollow(room_id)

    # News -----------------------------------------------------------------------------

    def grown(self, room_id: int, epoch: str, records: list[Record]) -> None:
        """This process wrote to a log."""
        self.relay.publish(room_id, epoch, records)
        self._tell_feed(room_id, epoch, records, records[-1].seq)

    def _tell_feed(self, room_id: int, epoch: str, records, last: int) -> None:
        feed = self.feeds.get(room_id)
        if feed and feed.epoch == epoch:
            feed.take(records, last)
        elif feed:  # one of the two has not seen yet that a backup was restored
            self._look_again()
        elif room_id in self._opening:
            self._heard_of.add(room_id)

    def session_ended(self, name: str, goes_on: bool) -> None:
        """This process ended a session (`name` is its key's hash); the same browser may
        go on with another."""
        self.relay.publish_session_end(name, goes_on)
        background.start(self._end_session(name, goes_on))

    def _hint(self, message: dict) -> None:
        if name := message.get("session"):
            background.start(self._end_session(name, message["goes_on"]))
        else:
            records = [Record(*one) for one in message["records"]]
            room_id, epoch = message["room"], message["epoch"]
            self._tell_feed(room_id, epoch, records, message["last"])

    def _look_again(self) -> None:
        """Hints may have been missed: look at the heads now, not at the next poll."""
        self._look.set()

    # What runs for ever ---------------------------------------------------------------

    async def poll(self) -> None:
        """One look a second or so at the heads of all rooms with a feed here, which
        bounds the delay of a lost hint, and at the counts of rooms that pages show."""
        while True:
            try:
                async with asyncio.timeout(random.uniform(*POLL_EVERY)):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            await self._compare_heads()
            await self.present_counts.look()

    async def _compare_heads(self) -> None:
        feeds = dict(self.feeds)
        if not feeds or not self.sockets:
            return
        epoch, heads = await run_in_database(history.heads, list(feeds))
        for room_id, feed in feeds.items():
            if epoch != feed.epoch or room_id not in heads:
                await feed.start_over("epoch")
            elif heads[room_id] > feed.known:
                feed.catch_up("poll")

    async def sweep_sessions(self) -> None:
        """Close the sockets whose sessions ended without a word: Redis was away."""
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            names = {socket.session_hash for socket in self.sockets}
            for some in slices(list(names), SESSIONS_AT_ONCE):
                for name in set(some) - await run_in_database(alive, some):
                    await self._end_session(name)
