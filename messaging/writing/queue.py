"""The queues of what sockets have written: many requests in one transaction.

A request waits in a queue of the process. One task drains it: what came while the last
transaction ran is the next one, so the batch grows with the load and nothing waits for
a timer.

A request has one of three outcomes: stored (with its number), refused (nothing was
stored, no number was taken), or unknown (the database did not answer; it may be
stored). Whoever gets an unknown repeats the request with the same key.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from django.db import OperationalError
from django.utils.translation import gettext_lazy as _

from messaging import metrics
from messaging.database import LOST, run_in_database
from messaging.writing.requests import (
    HeldVisits,
    Place,
    Unknown,
    WriteRequest,
    write_batch,
)
from rooms.models import attendance
from rooms.models.log import locked, waited_in_vain
from rooms.rights import Refused

logger = logging.getLogger(__name__)

MAX_BATCH = 200
MAX_WAITING = 5_000
TRY_AGAIN = 1.0  # seconds
THREADS_FOR_LOCKED = (
    2  # of the database executor's; so many locked rooms are waited for at a time
)

Waiting = tuple[WriteRequest, asyncio.Future, float]  # with the time since when
OnLocked = Callable[[set[int]], None]


class Locked(Exception):
    """Somebody else holds the locks of `rooms` (a set of ids). Nothing was stored."""

    def __init__(self, rooms: set[int]) -> None:
        super().__init__(rooms)
        self.rooms = rooms


class Writer:
    """The queues of one process. All rooms share one; a room whose lock somebody else
    holds has one of its own until it is free, so that nobody waits but who has to."""

    def __init__(self) -> None:
        self._visits: HeldVisits = {}
        self._shared = Queue(self._visits, self._give_own_queues)
        self._locked_rooms: dict[int, LockedRoomQueue] = {}  # {room's id: its queue}
        self._turns = asyncio.Semaphore(THREADS_FOR_LOCKED)

    async def write(self, request: WriteRequest):
        """Have the request written. Returns when it is committed; raises Refused, or
        Unknown."""
        return await self.take(request)

    def take(self, request: WriteRequest) -> asyncio.Future:
        """Put the request in its queue. A future of what `write` returns or raises;
        raises Refused where too much waits."""
        queue = self._locked_rooms.get(request.room_id, self._shared)
        if len(queue) >= MAX_WAITING and request.is_repeated:
            raise Refused("busy", _("The server is busy. Try again in a moment."))
        done = asyncio.get_running_loop().create_future()
        queue.add([(request, done, time.monotonic())])
        return done

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues)

    @property
    def age(self) -> float:
        """For how many seconds the oldest request has waited in the queue that rooms
        share. (One of a locked room says nothing about the process.)"""
        return self._shared.age

    @property
    def locked(self) -> int:
        """The number of rooms that somebody else keeps us waiting for."""
        return sum(queue.draining is not None for queue in self._locked_rooms.values())

    async def finish(self) -> None:
        """Wait until all that was handed in is written."""
        while tasks := [queue.draining for queue in self._queues if queue.draining]:
            await asyncio.wait(tasks)

    @property
    def _queues(self) -> "list[Queue]":
        return [self._shared, *self._locked_rooms.values()]

    def _give_own_queues(self, rooms: set[int]) -> None:
        """Let what is for these rooms wait by itself, in its order."""
        logger.warning("%d rooms are locked by somebody else", len(rooms))
        for room_id in rooms:
            forget = partial(self._locked_rooms.pop, room_id)
            self._locked_rooms[room_id] = LockedRoomQueue(
                self._visits, self._turns, forget
            )
        waiting, doubtful = self._shared.take(rooms)
        for one in waiting:
            self._locked_rooms[one[0].room_id].add([one])
        for place in doubtful:
            self._locked_rooms[place.room_id].add((), [place])


class Queue:
    """Requests that wait, and the task that writes them, in their order."""

    def __init__(self, visits: HeldVisits, on_locked: OnLocked) -> None:
        self.draining: asyncio.Task | None = None
        self._on_locked = on_locked
        self._waiting: deque[Waiting] = deque()
        self._in_hand: list[Waiting] = []  # those that are being written
        self._visits = visits  # of all queues of the process
        self._doubtful: set[Place] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def age(self) -> float:
        """For how many seconds the oldest of its requests has waited to be written."""
        oldest = next(iter(self._in_hand or self._waiting), None)
        return time.monotonic() - oldest[2] if oldest else 0.0

    def add(self, waiting: Iterable[Waiting], doubtful: Iterable[Place] = ()) -> None:
        self._waiting.extend(waiting)
        self._doubtful.update(doubtful)
        if self.draining is None:
            self.draining = asyncio.create_task(self._drain())

    def take(self, rooms: set[int]) -> tuple[list[Waiting], set[Place]]:
        """Part from all that concerns these rooms."""
        taken = [one for one in self._waiting if one[0].room_id in rooms]
        kept = [one for one in self._waiting if one[0].room_id not in rooms]
        doubtful = {place for place in self._doubtful if place.room_id in rooms}
        self._waiting = deque(kept)
        self._doubtful -= doubtful
        return taken, doubtful

    async def _drain(self) -> None:
        try:
            while self._waiting or self._doubtful:
                try:
                    await self._write_some()
                except Locked as error:
                    self._on_locked(error.rooms)
        finally:
            self.draining = None

    async def _write_some(self) -> None:
        if self._doubtful and not await self._disown():
            await asyncio.sleep(0 if self._waiting else TRY_AGAIN)
        count = min(len(self._waiting), MAX_BATCH)
        if not count:
            return
        batch = [self._waiting.popleft() for _nth in range(count)]
        self._in_hand = batch
        metrics.BATCH.observe(count)
        try:
            outcomes = await _outcomes([request for request, _done, _since in batch])
        except Locked:
            self._waiting.extendleft(reversed(batch))
            raise
        finally:
            self._in_hand = []
        self._settle(batch, outcomes)

    def _settle(self, batch: list[Waiting], outcomes: list) -> None:
        for (request, done, _since), outcome in zip(batch, outcomes, strict=True):
            if doubt := request.note(outcome, self._visits):
                self._doubtful.add(doubt)
            _resolve(done, outcome)

    async def _disown(self) -> bool:
        """Close the visits that batches of unknown outcome may have left behind. No
        other can come meanwhile: one task writes all of this process's for a room."""
        places, held = list(self._doubtful), list(self._visits)
        rooms = {room_id for _node_id, room_id in places}
        try:
            await run_in_database(
                _unless_locked, rooms, attendance.close_unheld, places, held
            )
        except Locked:
            raise
        except LOST as error:
            logger.warning("visits that nobody holds are not closed yet: %s", error)
            return False
        except Exception:
            logger.exception("visits that nobody holds could not be closed")
            return False
        self._doubtful.difference_update(places)
        return True


class LockedRoomQueue(Queue):
    """The queue of one room whose lock somebody else holds. It takes turns with the
    others of its kind, and calls `forget` once it is written and the lock was free."""

    def __init__(self, visits, turns: asyncio.Semaphore, forget) -> None:
        super().__init__(visits, self._ask_to_repeat)
        self._turns = turns
        self._forget = forget
        self._is_locked = True

    async def _drain(self) -> None:
        await super()._drain()
        if not self._is_locked:
            self._forget()

    async def _write_some(self) -> None:
        async with self._turns:
            await super()._write_some()
        self._is_locked = False

    def _ask_to_repeat(self, _rooms: set[int]) -> None:
        """Of what waits, only exits wait on: nobody would repeat those."""
        self._is_locked = True
        waiting, self._waiting = self._waiting, deque()
        for request, done, since in waiting:
            if request.is_repeated:
                _resolve(done, Refused("try_later", _("This room is busy.")))
            else:
                self._waiting.append((request, done, since))


def _resolve(done: asyncio.Future, outcome) -> None:
    if done.done():  # whoever waited has gone; the request was written all the same
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


async def _outcomes(requests: list[WriteRequest]) -> list:
    """That of each request; raises Locked. One bad request never costs another."""
    rooms = {request.room_id for request in requests}
    try:
        return await run_in_database(_unless_locked, rooms, write_batch, requests)
    except Locked:
        raise
    except LOST as error:
        logger.warning("a batch of %d is of unknown outcome: %s", len(requests), error)
        return [Unknown() for _ in requests]
    except Exception:
        if len(requests) == 1:
            logger.exception("a request could not be written")
            return [Unknown()]
    logger.warning("a batch of %d failed; trying them one by one", len(requests))
    return [await _outcome(request) for request in requests]


async def _outcome(request: WriteRequest):
    try:
        (outcome,) = await _outcomes([request])
    except Locked:  # others of its batch are written by now: it cannot wait with them
        return Unknown()
    return outcome


def _unless_locked(rooms: set[int], write, *args):
    """write(*args), which writes to these rooms; raises Locked where it cannot now."""
    try:
        return write(*args)
    except OperationalError as error:
        if not waited_in_vain(error):
            raise
    if held := locked(rooms):
        raise Locked(held)
    return write(*args)  # it has just been let go
