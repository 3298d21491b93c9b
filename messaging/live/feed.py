"""What one room's log grows by goes to every socket of this process that shows it.

A feed knows the log up to a number (`known`), has sent it up to a number (`sent`), and
never skips one: news that do not continue what it knows make it read PostgreSQL. So the
channel layer may lose, double or delay whatever it likes, and every socket still gets
each number once, in order.
"""

import asyncio
import logging
import time
from dataclasses import replace

from django.utils.translation import gettext_lazy as _

from messaging import history, metrics, protocol
from messaging.database import run_in_database
from messaging.history import Record, Snapshot
from messaging.live.fanout import write_to_all
from messaging.live.removals import EVERYBODY, farewell_to, removed_by
from messaging.live.ring import Ring, Rings
from messaging.live.room_state import RoomState
from messaging.live.sockets import LiveSocket, RoomSocket, in_turns
from messaging.protocol import Close, Cursor
from rooms.models import Room

logger = logging.getLogger(__name__)

MAX_GAP = 500  # events; a socket that is further behind starts anew
READ_AT_ONCE = 500  # events, or READ_BYTES of them
MAX_READS = 8  # for a feed that is behind; then it starts anew, with all its sockets
REST_FACTOR, MAX_REST = 2, 0.02


class Feed:
    """The live end of one room in this process."""

    def __init__(
        self, room_id: int, start: Snapshot, records: list[Record], rings: Rings
    ) -> None:
        self.room_id = room_id
        self._ring = Ring(rings)  # up to `known`, reaching below `sent`
        self.sockets: set[RoomSocket] = set()  # live, or on their way
        self._live: set[RoomSocket] = set()  # those that get what is sent
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
        self.state = RoomState(start)
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
        """Begin at the room's head again, and have every page do the same; but not
        who was removed in what is passed over, or is no member after a restore."""
        async with self._sending:  # nothing of before may come after the reset
            asked = {socket: socket.user.pk for socket in self._live}
            try:
                opened, members = await run_in_database(
                    history.reopening, self.room_id, set(asked.values())
                )
            except Room.DoesNotExist:
                gone = _("There’s no such room.")
                return await self._close_all(Close.NO_SUCH_ROOM, gone)
            self._start_at(*opened)
            async for socket in in_turns(self.sockets):
                if socket not in asked:
                    await socket.close_with(
                        Close.RESTART, _("The room is starting again.")
                    )
                elif asked[socket] not in members:
                    await self._close(socket)
                elif socket.entry:
                    await self._reset(socket, reason)

    async def _reset(self, socket: RoomSocket, reason: str) -> None:
        # From here on it is as if they had just entered: what removes them is above.
        socket.entry = replace(socket.entry, head=self.sent, epoch=self.epoch)
        metrics.RESETS.labels(reason).inc()
        await socket.deliver(protocol.reset(reason, self.sent))

    async def _close_all(self, code: int, detail) -> None:
        async for socket in in_turns(self.sockets):
            await socket.close_with(code, detail)

    # Fan-out --------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._send_news()
            except Exception:
                logger.exception("room %s: its sockets begin anew", self.room_id)
                await self._close_all(Close.RESTART, _("The room is starting again."))

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
        """Send all that waits as one frame, but nothing after somebody was removed."""
        batch, removed, heard_at = [], None, self._heard_at
        for record in self._ring.between(self.sent, self.known):
            batch.append(record.json)
            self.sent = record.seq
            self.state.apply(record)
            if removed := removed_by(record):
                break
        for frame in protocol.frames_of(batch):
            await self._write(frame)
        metrics.DELIVERY.observe(time.monotonic() - heard_at)
        if removed:
            await self._close_removed(removed)
        self._ring.trim(self.sent)

    async def _write(self, frame: bytes) -> None:
        await write_to_all(self._live, frame)

    async def _close_removed(self, removed: int) -> None:
        """Close the sockets that a person opened before they were removed."""
        theirs = [s for s in self.sockets if removed in (s.user.pk, EVERYBODY)]
        async for socket in in_turns(theirs):
            if socket.entry.head < self.sent:
                await self._close(socket, removed)

    async def _close(self, socket: RoomSocket, removed: int | None = None) -> None:
        self.leave(socket)
        await socket.close_with(*farewell_to(removed))

    # Joining --------------------------------------------------------------------------

    async def welcome(self, socket: RoomSocket, cursor: Cursor | None) -> int | None:
        """Take a socket in. Returns the number from which `replay` has to go on; None
        where the person may not read on."""
        self.sockets.add(socket)
        await self._reach(max(socket.entry.head, cursor.seq if cursor else 0))
        if who := await self._has_removed(socket):
            await self._close(socket, who)
            return None
        head, reason = self.sent, self._reset_reason(cursor)
        await socket.deliver(self._welcome(socket))
        if reason:
            metrics.RESETS.labels(reason).inc()
            await socket.deliver(protocol.reset(reason, head))
        return head if reason or cursor is None else cursor.seq

    async def replay(self, socket: RoomSocket, seen: int) -> None:
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

    async def _has_removed(self, socket: RoomSocket) -> int | None:
        """The person's id, or EVERYBODY, if they were removed after they entered and
        before the socket was here; what comes later is `_send_batch`'s to see."""
        seen = socket.entry.head
        while seen < self.sent:
            since = await self._missed(seen, self.sent)
            for who in map(removed_by, since):
                if who in (socket.user.pk, EVERYBODY):
                    return who
            seen = since[-1].seq
        return None

    def leave(self, socket: LiveSocket) -> None:
        self.sockets.difference_update({socket})
        self._live.difference_update({socket})

    async def _reach(self, seq: int) -> None:
        """Wait until the feed is at `seq`, if the log is."""
        if self.sent >= seq:
            return
        for _round in range(2):  # what is being read already may end too early
            if self.known < seq:  # others wait for the same reading
                await asyncio.shield(self.catch_up("join"))
        while self.sent < min(seq, self.known):  # noqa: ASYNC110  a few ms, rarely
            await asyncio.sleep(0.005)

    def _reset_reason(self, cursor: Cursor | None) -> str | None:
        if cursor is None:
            return None
        if cursor.epoch != self.epoch:
            return "epoch"
        if cursor.seq > self.sent:
            return "ahead"
        if cursor.seq < self.state.floor - 1:
            return "cleared"
        return "gap" if self.sent - cursor.seq > MAX_GAP else None

    def _welcome(self, socket: RoomSocket) -> bytes:
        role = socket.entry.role
        return protocol.encode(
            {
                "type": "welcome",
                "epoch": self.epoch,
                "head": self.sent,
                **self.state.facts,
                "you": {**protocol.person(socket.user), "role": role},
            }
        )

    async def _missed(self, seen: int, upto: int) -> list[Record]:
        """The records after `seen` up to `upto`, or the first PIECE_BYTES of them."""
        if self._ring.reaches(seen + 1):
            return self._ring.replay(seen, upto, history.PIECE_BYTES)
        return await run_in_database(history.records, self.room_id, seen + 1, upto)
