"""The queue of what sockets write: many drafts in one transaction.

A draft waits in the process's queue. One task drains it: what arrived while the last
transaction ran is the next one, so the batch grows with the load and nothing waits for
a timer.

A draft has one of three fates: done (with its number), refused (nothing was stored, no
number was taken), or unknown (the database did not answer; it may be stored). Who gets
an unknown repeats the draft with the same key.
"""

import asyncio
import logging
from collections import deque

from django.utils.translation import gettext_lazy as _

from messaging import metrics
from messaging.drafts import Arrival, Arrive, Depart, Draft, write_batch
from messaging.gateway import LOST, in_database
from rooms import attendance
from rooms.rights import Refused

logger = logging.getLogger(__name__)

MAX_BATCH = 200
MAX_WAITING = 5_000
TRY_AGAIN = 1.0  # seconds


class Unknown(Exception):
    """The database did not answer: nobody can say whether the draft was stored."""


class Writer:
    """The queue of one process, and the task that drains it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Draft, asyncio.Future]] = deque()
        self._visits: dict[int, int] = {}  # {id: node's id}, those that sockets hold
        self._doubtful: set[tuple[int, int]] = set()  # (node's id, room's id)
        self._draining: asyncio.Task | None = None

    async def write(self, draft: Draft):
        """Have the draft written. Returns when it is committed; raises Refused, or
        Unknown."""
        if len(self._waiting) >= MAX_WAITING and not isinstance(draft, Depart):
            raise Refused("busy", _("Too much is waiting. Try again in a moment."))
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((draft, done))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await done

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def finish(self) -> None:
        """Wait until all that was handed in is written."""
        while self._draining is not None:
            await asyncio.wait([self._draining])

    async def _drain(self) -> None:
        try:
            while self._waiting or self._doubtful:
                if self._doubtful and not await self._disown():
                    await asyncio.sleep(0 if self._waiting else TRY_AGAIN)
                if not self._waiting:
                    continue
                count = min(len(self._waiting), MAX_BATCH)
                batch = [self._waiting.popleft() for _nth in range(count)]
                metrics.BATCH.observe(count)
                fates = await _fates([draft for draft, _done in batch])
                for (draft, done), fate in zip(batch, fates, strict=True):
                    self._note(draft, fate)
                    _resolve(done, fate)
        finally:
            self._draining = None

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
        can come meanwhile: all of this process's are written by the one task."""
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
    """What became of each draft. One bad draft never costs another."""
    try:
        return await in_database(write_batch, drafts)
    except LOST as error:
        logger.warning("a batch of %d is of unknown fate: %s", len(drafts), error)
        return [Unknown() for _ in drafts]
    except Exception:
        if len(drafts) == 1:
            logger.exception("a draft could not be written")
            return [Unknown()]
    logger.warning("a batch of %d failed; trying them one by one", len(drafts))
    return [(await _fates([draft]))[0] for draft in drafts]
