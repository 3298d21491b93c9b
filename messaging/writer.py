"""What sockets write to the logs of rooms: many drafts in one transaction.

A draft (something said, somebody coming in, a page closed) waits in the process's
queue. One task drains it: what arrived while the last transaction ran is the next one,
so the batch grows with the load and nothing waits for a timer. The number of statements
of a batch is fixed.

A draft has one of three fates: done (with its number), refused (nothing was stored, no
number was taken), or unknown (the database did not answer; it may be stored). Who gets
an unknown repeats the draft with the same key.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from accounts.models import User
from messaging import metrics
from messaging.gateway import LOST, in_database
from messaging.models import Message
from messaging.render import to_html
from rooms import attendance
from rooms.log import Log, writing
from rooms.models import Event, Membership, Node
from rooms.models.room import Standing
from rooms.rights import Act, Refused, may

logger = logging.getLogger(__name__)

MAX_BATCH = 200
MAX_WAITING = 5_000
TRY_AGAIN = 1.0  # seconds


class Unknown(Exception):
    """The database did not answer: nobody can say whether the draft was stored."""


@dataclass(slots=True, eq=False)
class Say:
    """Something said. Done: the seq of its message."""

    room_id: int
    user: User
    key: str
    body: str
    me: bool = False
    epoch: str | None = None  # of the log that it was meant for, where that is known
    html: str = ""


@dataclass(slots=True, eq=False)
class Arrive:
    """A socket opens. Done: an Arrival."""

    room_id: int
    user: User
    node_id: int


@dataclass(slots=True, eq=False)
class Depart:
    """A socket has closed, for a Cause. Done: None."""

    room_id: int
    visit_id: int
    cause: str


@dataclass(slots=True, frozen=True)
class Arrival:
    visit_id: int
    role: str
    head: int  # of the room's log, when they were in
    epoch: str


Draft = Say | Arrive | Depart
Fate = int | Arrival | None | Refused


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


def write_batch(drafts: list[Draft]) -> list[Fate]:
    """Write drafts in one transaction; the fate of each, in order.

    Raises what the database raises; then none of them was stored, unless the line
    broke while it committed.
    """
    for draft in drafts:
        if isinstance(draft, Say):
            draft.html = to_html(draft.body)
    with writing(*{draft.room_id for draft in drafts}) as log:
        fates: dict[Draft, Fate] = {}
        standings = _standings(drafts)
        said = [draft for draft in drafts if isinstance(draft, Say)]
        fates |= _say(log, said, standings)
        arriving = [draft for draft in drafts if isinstance(draft, Arrive)]
        fates |= _arrive(log, arriving, standings)
        departing = {d.visit_id: d.cause for d in drafts if isinstance(d, Depart)}
        if departing:
            attendance.depart(log, departing)
    return [fates.get(draft) for draft in drafts]


def _standings(drafts) -> dict[tuple[int, int], Standing]:
    """What the drafts' people may do, read under the rooms' locks."""
    asking = [draft for draft in drafts if not isinstance(draft, Depart)]
    if not asking:
        return {}
    return Membership.objects.standings(
        {draft.room_id for draft in asking}, {draft.user.pk for draft in asking}
    )


def _refusal(draft, act, standings) -> Refused | None:
    standing = standings.get((draft.room_id, draft.user.pk))
    if standing is None or not may(standing, act, standing.role):
        return Refused("not_allowed", _("You are no member of this room."))
    if act == Act.POST and standing.archived_at:
        return Refused("archived", _("This room is archived."))
    return None


def _say(log: Log, drafts: list[Say], standings) -> dict:
    if not drafts:
        return {}
    stored = Message.objects.stored({(draft.user.pk, draft.key) for draft in drafts})
    fates: dict = {}
    new: list[Message] = []
    for draft in drafts:
        name = (draft.user.pk, draft.key)
        if draft.epoch not in (None, log.epoch):
            fates[draft] = Refused("try_later", _("The server is restarting."))
        elif name in stored:
            fates[draft] = _repeated(draft, *stored[name])
        elif refused := _refusal(draft, Act.POST, standings):
            fates[draft] = refused
        else:
            new.append(_append(log, draft))
            fates[draft] = new[-1].event.seq
            stored[name] = (draft.room_id, fates[draft], draft.body, draft.me)
    if new:
        log.flush()
        for message in new:
            message.event_id = message.event.pk
        Message.objects.store(new)
    return fates


def _append(log: Log, draft: Say) -> Message:
    extra = {"me": True} if draft.me else {}
    event = log.append(draft.room_id, Event.Kind.MESSAGE, draft.user, **extra)
    event.message = Message(
        event=event, author=draft.user, key=draft.key, body=draft.body, html=draft.html
    )
    return event.message


def _repeated(draft: Say, room_id, seq, body, me) -> int | Refused:
    if (room_id, body, me) == (draft.room_id, draft.body, draft.me):
        metrics.DUPLICATES.inc()
        return seq
    return Refused("key_reused", _("This key stands for another message."))


def _arrive(log: Log, drafts: list[Arrive], standings) -> dict:
    if not drafts:
        return {}
    running = set(Node.objects.running().values_list("pk", flat=True))
    fates: dict = {}
    comings: dict[Arrive, attendance.Coming] = {}
    for draft in drafts:
        if refused := _refusal(draft, Act.READ, standings):
            fates[draft] = refused
        elif draft.node_id not in running:
            fates[draft] = Refused("try_later", _("The server is restarting."))
        else:
            role = standings[draft.room_id, draft.user.pk].role
            comings[draft] = attendance.Coming(
                draft.room_id, draft.user, role, draft.node_id
            )
    visits = attendance.arrive(log, comings.values())
    for (draft, coming), visit in zip(comings.items(), visits, strict=True):
        head = log.head(draft.room_id)
        fates[draft] = Arrival(visit.pk, coming.role, head, log.epoch)
    return fates
