"""What sockets ask to have written to the logs of rooms, one class a kind, and the
transaction that writes many of them.

A class stores all requests of its kind at once, so the number of statements in a
transaction is fixed, whatever the number of requests.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from django.utils.translation import gettext_lazy as _

from accounts.models import User
from messaging import metrics
from messaging.models import Message
from messaging.rendering.plain import to_plain_html
from rooms.models import Event, Membership, Node, attendance
from rooms.models.log import Log, writing
from rooms.models.membership import Standing
from rooms.rights import NOT_WHILE_ARCHIVED, Act, Refused, may

Standings = dict[tuple[int, int], Standing]  # by room's id and person's id
HeldVisits = dict[int, int]  # {id: node's id}, those that sockets of the process hold


class Place(NamedTuple):
    """Where an open visit may be stored that no socket holds."""

    node_id: int
    room_id: int


class Unknown(Exception):
    """The database did not answer: nobody can say whether a request was stored."""


class WriteRequest:
    """One request. Its outcome is stored (what that gives, a class says), Refused, or
    Unknown."""

    __slots__ = ()
    is_repeated: ClassVar = True  # by its sender, if it was not stored
    room_id: int

    @classmethod
    def store(cls, log: Log, requests: list, standings: Standings) -> dict:
        """Store requests of this kind, {request: outcome}."""
        raise NotImplementedError

    def note(self, outcome, held: HeldVisits) -> Place | None:
        """Keep `held` up to date with an outcome; the Place where it leaves doubt."""
        return None


class PersonsRequest(WriteRequest):
    """One that takes a right of a person's in the room."""

    __slots__ = ()
    user: User

    def refusal(self, act: str, standings: Standings) -> Refused | None:
        """Why `user` may not do this; None if they may."""
        standing = standings.get((self.room_id, self.user.pk))
        if standing is None or not may(standing, act, standing.role):
            return Refused("not_allowed", _("You’re not a member of this room."))
        if act in NOT_WHILE_ARCHIVED and standing.archived_at:
            return Refused("archived", _("This room is archived."))
        return None


@dataclass(slots=True, eq=False)
class PostMessage(PersonsRequest):
    """Somebody posts a message. Stored: its seq."""

    room_id: int
    user: User
    key: str
    body: str
    me: bool = False
    epoch: str | None = None  # of the log that it was meant for, where that is known
    html: str = ""  # "": that of plain text

    @classmethod
    def store(cls, log, requests, standings):
        names = {request.name for request in requests}
        stored = Message.objects.stored(names)  # {name: (room_id, seq, body, me)}
        outcomes, new = {}, []
        for request in requests:
            outcome = request.repeated_or_refused(log, stored, standings)
            if outcome is None:
                new.append(request.append(log))
                outcome = new[-1].event.seq
                meant = (request.room_id, outcome, request.body, request.me)
                stored[request.name] = meant
            outcomes[request] = outcome
        if new:
            _store_messages(log, new)
        return outcomes

    @property
    def name(self) -> tuple[int, str]:
        """What makes a repeat known: a key is its author's own."""
        return self.user.pk, self.key

    def repeated_or_refused(self, log, stored, standings) -> int | Refused | None:
        if self.epoch not in (None, log.epoch):
            return Refused("try_later", _("The server is restarting."))
        if self.name in stored:
            return self._repeated(*stored[self.name])
        return self.refusal(Act.POST, standings)

    def _repeated(self, room_id, seq, body, me) -> int | Refused:
        if (room_id, body, me) == (self.room_id, self.body, self.me):
            metrics.DUPLICATES.inc()
            return seq
        return Refused(
            "key_reused", _("This key was already used for another message.")
        )

    def append(self, log) -> Message:
        extra = {"me": True} if self.me else {}
        event = log.append(self.room_id, Event.Kind.MESSAGE, self.user, **extra)
        html = self.html or to_plain_html(self.body)
        event.message = Message(
            event=event, author=self.user, key=self.key, body=self.body, html=html
        )
        return event.message


def _store_messages(log, messages) -> None:
    log.flush()  # which gives the events their ids
    for message in messages:
        message.event_id = message.event.pk
    Message.objects.store(messages)


@dataclass(slots=True, frozen=True)
class Entry:
    """What a socket that entered knows of its room."""

    visit_id: int
    role: str
    head: int  # of the room's log, when they were in
    epoch: str


@dataclass(slots=True, eq=False)
class EnterRoom(PersonsRequest):
    """A socket opens. Stored: an Entry."""

    room_id: int
    user: User
    node_id: int

    @classmethod
    def store(cls, log, requests, standings):
        running = set(Node.objects.running().values_list("pk", flat=True))
        outcomes, allowed = {}, {}
        for request in requests:
            if refused := request.refused(running, standings):
                outcomes[request] = refused
            else:
                allowed[request] = request.as_visit(standings)
        visits = attendance.enter(log, allowed.values())
        for (request, coming), visit in zip(allowed.items(), visits, strict=True):
            head = log.head(request.room_id)
            outcomes[request] = Entry(visit.pk, coming.role, head, log.epoch)
        return outcomes

    def refused(self, running, standings) -> Refused | None:
        if refused := self.refusal(Act.READ, standings):
            return refused
        if self.node_id not in running:
            return Refused("try_later", _("The server is restarting."))
        return None

    def as_visit(self, standings):
        role = standings[self.room_id, self.user.pk].role
        return attendance.NewVisit(self.room_id, self.user, role, self.node_id)

    def note(self, outcome, held):
        if isinstance(outcome, Entry):
            held[outcome.visit_id] = self.node_id
        is_unknown = isinstance(outcome, Unknown)
        return Place(self.node_id, self.room_id) if is_unknown else None


@dataclass(slots=True, eq=False)
class ExitRoom(WriteRequest):
    """A socket has closed, for a Cause. Stored: None."""

    is_repeated = False  # nobody is there to do it
    room_id: int
    visit_id: int
    cause: str

    @classmethod
    def store(cls, log, requests, standings):
        attendance.close_visits(
            log, {request.visit_id: request.cause for request in requests}
        )
        return dict.fromkeys(requests)

    def note(self, outcome, held):
        node_id = held.pop(self.visit_id, None)
        is_unknown = isinstance(outcome, Unknown) and node_id is not None
        return Place(node_id, self.room_id) if is_unknown else None


KINDS = (PostMessage, EnterRoom, ExitRoom)  # in the order in which a batch stores them


def write_batch(requests: list[WriteRequest]) -> list:
    """Write requests in one transaction; the outcome of each, in order, but Unknown.

    Raises what the database raises; then none of them was stored, unless the connection
    broke while it committed.
    """
    with writing(*{request.room_id for request in requests}) as log:
        standings = _standings(requests)
        outcomes: dict = {}
        for kind in KINDS:
            if mine := [request for request in requests if isinstance(request, kind)]:
                outcomes |= kind.store(log, mine, standings)
    return [outcomes[request] for request in requests]


def _standings(requests) -> Standings:
    """What the requests' people may do, read under the rooms' locks."""
    asking = [request for request in requests if isinstance(request, PersonsRequest)]
    if not asking:
        return {}
    return Membership.objects.standings(
        {request.room_id for request in asking}, {request.user.pk for request in asking}
    )
