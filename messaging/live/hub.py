"""All live rooms and sockets of one process, and what keeps them true."""

import asyncio
import random
from collections.abc import Iterator

from django.utils.translation import gettext_lazy as _

from accounts.sessions import alive
from messaging import history
from messaging.database import run_in_database
from messaging.history import Record
from messaging.live import background
from messaging.live.feed import Feed
from messaging.live.present_counts import PresentCounts
from messaging.live.relay import Relay
from messaging.live.ring import Rings
from messaging.live.sockets import Groups, LiveSocket, RoomSocket, in_turns
from messaging.protocol import Close

POLL_EVERY = (1.0, 1.6)  # seconds, at random between: bounds the delay without Redis
SWEEP_EVERY = 10  # seconds between two looks at whether the sessions still live
SESSIONS_AT_ONCE = 500  # in one query of such a look
# Of sockets that are sent away. A hundred a second, and whatever their number, all gone
# in 10 s: the other processes take them in meanwhile.
GROUP, GROUP_EVERY, MAX_GROUPS = 20, 0.2, 50
KEEP_IDLE = 30  # seconds that a feed without sockets is kept


class Hub:
    """The feeds and sockets of this process."""

    def __init__(self) -> None:
        self.relay = Relay(self._hint, self._look_again)
        self.rings = Rings()
        self.feeds: dict[int, Feed] = {}
        self.sockets: set[LiveSocket] = set()
        self.present_counts = PresentCounts()
        self._by_session = Groups()  # by the hash of its key
        self._by_person = Groups()  # by id
        self._opening: dict[int, asyncio.Task] = {}
        self._heard_of: set[int] = set()  # rooms with news while they were opened
        self._look = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # Sockets --------------------------------------------------------------------------

    def enroll(self, socket: LiveSocket) -> None:
        """From now on the socket ends with its session."""
        self.sockets.add(socket)
        self._by_session.add(socket.session_hash, socket)
        self._by_person.add(socket.user.pk, socket)

    def sockets_of(self, user) -> int:
        """How many sockets a person has in this process."""
        return len(self._by_person.get(user.pk, ()))

    async def join(self, socket: RoomSocket, room_id: int, cursor) -> int | None:
        """Make a socket a view of a room, live once its feed has replayed from the
        number that is returned; None: it was closed."""
        socket.feed = feed = await self._feed(room_id)
        if socket.entry.epoch != feed.epoch:  # a backup was restored just now
            # Whoever asks for it may be cut off; all the room's sockets need it whole.
            await asyncio.shield(background.start(feed.start_over("epoch")))
        if socket.entry.epoch != feed.epoch:  # let in by the log before the restore
            await socket.close_with(Close.RESTART, _("The room is starting again."))
            return None
        return await feed.welcome(socket, cursor)

    def leave(self, socket: LiveSocket) -> None:
        """Forget a socket; as often as one likes."""
        self.sockets.discard(socket)
        self.present_counts.forget(socket)
        self._by_session.drop(socket.session_hash, socket)
        self._by_person.drop(socket.user and socket.user.pk, socket)
        if feed := socket.feed:
            feed.leave(socket)
            if not feed.sockets:
                self._loop.call_later(KEEP_IDLE, self._drop_idle, feed)

    async def close_all(self, code: int, detail) -> None:
        async for socket in in_turns(self.sockets):
            await socket.close_with(code, detail)

    async def drain(self) -> None:
        """Have all pages come back later, group by group, as the process stops."""
        while sockets := list(self.sockets):
            random.shuffle(sockets)
            size = max(GROUP, len(sockets) // MAX_GROUPS)
            for start in range(0, len(sockets), size):
                group = sockets[start : start + size]
                await asyncio.gather(*(socket.drain() for socket in group))
                if start + size < len(sockets):
                    await asyncio.sleep(GROUP_EVERY * random.uniform(0.5, 1.5))

    async def _end_session(self, name: str, goes_on: bool = False) -> None:
        async for socket in in_turns(self._by_session.get(name, ())):
            if goes_on:  # under a new key, which the browser has by now
                await socket.close_with(Close.RESTART, _("Your session was renewed."))
            else:
                await socket.close_with(Close.SIGNED_OUT, _("You’re signed out."))

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


def slices(items: list, size: int) -> Iterator[list]:
    """The items in lists of `size`; the last one may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))
