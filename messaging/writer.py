"""The queues of what sockets write: many drafts in one transaction.

A draft waits in a queue of the process. One task drains it: what arrived while the last
transaction ran is the next one, so the batch grows with the load and nothing waits for
a timer.

A draft has one of three fates: done (with its number), refused (nothing was stored, no
number was taken), or unknown (the database did not answer; it may be stored). Who gets
an unknown repeats the draft with the same key.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from django.db import OperationalError
from django.utils.translation import gettext_lazy as _
from psycopg.errors import LockNotAvailable

from messaging import metrics
from messaging.drafts import Arrival, Arrive, Depart, Draft, write_batch
from messaging.gateway import LOST, in_database
from rooms import attendance
from rooms.log import locked
from rooms.rights import Refused

logger = logging.getLogger(__name__)

MAX_BATCH = 200
MAX_WAITING = 5_000
TRY_AGAIN = 1.0  # seconds

Waiting = tuple[Draft, asyncio.Future]


class Unknown(Exception):
    """The database did not answer: nobody can say whether the draft was stored."""


class Locked(Exception):
    """Somebody else holds the locks of `rooms` (a set of ids). Nothing was stored."""

    def __init__(self, rooms: set[int]) -> None:
        super().__init__(rooms)
        self.rooms = rooms


class Writer:
    """The queues of one process. All rooms share one; those whose lock somebody else
    holds for long are set aside in another, so that nobody waits but who has to."""

    def __init__(self) -> None:
        visits: dict[int, int] = {}
        self._aside = Queue(visits)
        self._queue = Queue(visits, self._aside)

    async def write(self, draft: Draft):
        """Have the draft written. Returns when it is committed; raises Refused, or
        Unknown."""
        if self.waiting >= MAX_WAITING and not isinstance(draft, Depart):
            raise Refused("busy", _("Too much is waiting. Try again in a moment."))
        done = asyncio.get_running_loop().create_future()
        queue = self._aside if draft.room_id in self._aside.rooms else self._queue
        queue.add([(draft, done)])
        return await done

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._aside)

    async def finish(self) -> None:
        """Wait until all that was handed in is written."""
        queues = self._queue, self._aside
        while tasks := [queue.draining for queue in queues if queue.draining]:
            await asyncio.wait(tasks)


class Queue:
    """Drafts that wait, and the task that writes them, in their order."""

    def __init__(self, visits: dict[int, int], aside: "Queue | None" = None) -> None:
        self.draining: asyncio.Task | None = None
        self.rooms: set[int] = set()  # those set aside here, until all is written
        self._aside = aside
        self._waiting: deque[Waiting] = deque()
        self._visits = visits  # {id: node's id}, all that sockets of the process hold
        self._doubtful: set[tuple[int, int]] = set()  # (node's id, room's id)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Iterable[Waiting]) -> None:
        self._waiting.extend(waiting)
        if self.draining is None:
            self.draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._waiting or self._doubtful:
                if self._doubtful and not await self._disown():
                    await asyncio.sleep(0 if self._waiting else TRY_AGAIN)
                if self._waiting:
                    await self._write()
        finally:
            self.draining = None
            self.rooms.clear()

    async def _write(self) -> None:
        count = min(len(self._waiting), MAX_BATCH)
        batch = [self._waiting.popleft() for _nth in range(count)]
        metrics.BATCH.observe(count)
        try:
            fates = await _fates([draft for draft, _done in batch])
        except Locked as locked:
            self._waiting.extendleft(reversed(batch))
            self._let_wait(locked.rooms)
        else:
            self._settle(batch, fates)

    def _let_wait(self, rooms: set[int]) -> None:
        """Part from all that is for these rooms: set it aside, or, if it is there, let
        those who sent it do so again."""
        logger.warning("%d rooms are locked by somebody else", len(rooms))
        held: list[Waiting] = []
        free: deque[Waiting] = deque()
        for draft, done in self._waiting:
            (held if draft.room_id in rooms else free).append((draft, done))
        self._waiting = free
        if self._aside is None:
            self._settle(held, [Unknown() for _ in held])
            return
        doubtful = {place for place in self._doubtful if place[1] in rooms}
        self._doubtful -= doubtful
        self._aside.rooms |= rooms
        self._aside._doubtful |= doubtful
        self._aside.add(held)

    def _settle(self, batch: list[Waiting], fates: list) -> None:
        for (draft, done), fate in zip(batch, fates, strict=True):
            self._note(draft, fate)
            _resolve(done, fate)

    def _note(self, draft: Draft, fate) -> None:
        """Know which visits are held, and where one may be stored that nobody holds."""
        if isinstance(draft, Arrive):
            if isinstance(fate, Arrival):
                self._visits[fate.visit_id] = draft.node_id
            elif isinstance(fate, Unknown):
                self._doubtful.add((draft.node_id, draft.room_id))
        elif isinstance(draft, Depart):
            node_id = self._visits.pop(draft.visit_id, None)
            if isinstance(fate, Unknown) and node_id is not None:
                self._doubtful.add((node_id, draft.room_id))

    async def _disown(self) -> bool:
        """Close the visits that batches of unknown fate may have left behind. No other
        can come meanwhile: all of this process's for a room are written by one task."""
        places, held = list(self._doubtful), list(self._visits)
        try:
            await in_database(attendance.disown, places, held)
        except LOST as error:
            logger.warning("visits that nobody holds are not closed yet: %s", error)
            return False
        self._doubtful.difference_update(places)
        return True


def _resolve(done: asyncio.Future, fate) -> None:
    if done.done():  # whoever waited has gone; the draft was written all the same
        return
    if isinstance(fate, Exception):
        done.set_exception(fate)
    else:
        done.set_result(fate)


async def _fates(drafts: list[Draft]) -> list:
    """What became of each draft; raises Locked. One bad draft never costs another."""
    try:
        return await in_database(_write_unless_locked, drafts)
    except Locked:
        raise
    except LOST as error:
        logger.warning("a batch of %d is of unknown fate: %s", len(drafts), error)
        return [Unknown() for _ in drafts]
    except Exception:
        if len(drafts) == 1:
            logger.exception("a draft could not be written")
            return [Unknown()]
    logger.warning("a batch of %d failed; trying them one by one", len(drafts))
    return [await _fate(draft) for draft in drafts]


async def _fate(draft: Draft):
    try:
        (fate,) = await _fates([draft])
    except Locked:  # others of its batch are written by now: it cannot wait with them
        return Unknown()
    return fate


def _write_unless_locked(drafts: list[Draft]) -> list:
    try:
        return write_batch(drafts)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable) and (
            rooms := locked({draft.room_id for draft in drafts})
        ):
            raise Locked(rooms) from error
        raise
