"""What sockets hand in for the logs of rooms, and the transaction that writes it.

A draft is something said, somebody coming in, or a page closed. Many are written in one
transaction; the number of its statements is fixed, whatever the number of drafts.
"""

from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from accounts.models import User
from messaging import metrics
from messaging.models import Message
from messaging.rendering.plain import to_plain_html
from rooms.models import Event, Membership, Node, attendance
from rooms.models.log import Log, writing
from rooms.models.membership import Standing
from rooms.rights import NOT_WHILE_ARCHIVED, Act, Refused, may


@dataclass(slots=True, eq=False)
class Say:
    """Something said. Done: the seq of its message."""

    room_id: int
    user: User
    key: str
    body: str
    me: bool = False
    epoch: str | None = None  # of the log that it was meant for, where that is known
    html: str = ""  # "": that of plain text


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


def write_batch(drafts: list[Draft]) -> list[Fate]:
    """Write drafts in one transaction; the fate of each, in order.

    Raises what the database raises; then none of them was stored, unless the line
    broke while it committed.
    """
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
    if act in NOT_WHILE_ARCHIVED and standing.archived_at:
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
    html = draft.html or to_plain_html(draft.body)
    event.message = Message(
        event=event, author=draft.user, key=draft.key, body=draft.body, html=html
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
