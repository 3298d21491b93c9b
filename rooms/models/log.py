"""The log of a room, and the only way an event comes into being:

    with writing(room.id) as log:
        log.append(room.id, Event.Kind.TOPIC, actor, text="…")

Everything that happens in a room takes the room's next number in the transaction that
makes it true. The room's head row is locked first, and rights are read after that, so
that the order of numbers is the order of commits and no act can slip past a kick. A
rollback leaves no hole.
"""

from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC
from functools import partial

import orjson
from django.db import connection, models, transaction
from django.utils.translation import gettext_lazy as _
from psycopg.errors import LockNotAvailable

from accounts.models import User
from rooms import signals


def timestamp(moment):
    """A moment as the log writes it: UTC, ISO 8601, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class Head(models.Model):
    """The two counters of a room: its log's highest number, and who many are in it.

    They change with every event, so they have a narrow table of their own. Whoever
    locks this row may write to the room's log; nobody else can.
    """

    room = models.OneToOneField("Room", models.CASCADE, primary_key=True)
    seq = models.BigIntegerField(default=0)
    here = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(seq__gte=0, here__gte=0), name="head_counts_up"
            )
        ]
        indexes = [
            models.Index(
                fields=["-here", "room"],
                condition=models.Q(here__gt=0),
                name="lively_rooms",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.seq}"


class EventQuerySet(models.QuerySet):
    def of(self, room_id):
        return self.filter(room_id=room_id)

    def between(self, first, last):
        """The events numbered `first` to `last`, both included, in order."""
        return self.filter(seq__gte=first, seq__lte=last).order_by("seq")

    def newest(self, limit):
        """The `limit` events with the highest numbers, in order."""
        return reversed(self.order_by("-seq")[:limit])


class Event(models.Model):
    """One entry of a room's log: something happened, and this is its number."""

    class Kind(models.TextChoices):
        MESSAGE = "message", _("wrote a message")
        ENTER = "enter", _("entered")
        LEAVE = "leave", _("exited")
        JOIN = "join", _("joined the room")
        PART = "part", _("left the room")
        KICK = "kick", _("removed somebody")
        ROLE = "role", _("changed a role")
        TOPIC = "topic", _("changed the topic")
        ARCHIVE = "archive", _("archived or unarchived the room")
        CLEAR = "clear", _("cleared the history")
        RESTORE = "restore", _("restored the history")
        DELETE_ROOM = "delete_room", _("deleted the room")
        RECOVER_ROOM = "recover_room", _("recovered the room")

    room = models.ForeignKey(
        "Room", models.CASCADE, related_name="events", verbose_name=_("room")
    )
    seq = models.BigIntegerField(_("number"))
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    at = models.DateTimeField(_("at"))
    actor = models.ForeignKey(
        User,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        verbose_name=_("actor"),
    )
    target = models.ForeignKey(
        User,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        verbose_name=_("target"),
    )
    about = models.BigIntegerField(_("about"), null=True)
    data = models.JSONField(_("data"), default=dict)

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints = [
            models.UniqueConstraint(fields=["room", "seq"], name="one_event_a_number"),
            models.CheckConstraint(
                condition=models.Q(seq__gte=1), name="event_numbers_start_at_one"
            ),
        ]
        indexes = [
            # Whoever wants to join is asked whether they were removed just now.
            models.Index(
                fields=["room", "target", "-seq"],
                condition=models.Q(kind="kick"),
                name="kicks",
            ),
            # A room's first event is the joining of the person who made it.
            models.Index(
                fields=["actor", "-at"],
                condition=models.Q(seq=1),
                name="rooms_made",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.seq} {self.kind}"

    @property
    def written(self):
        """The text of an event of one of the kinds in TEXTS."""
        if hasattr(self, "text"):
            return self.text.body
        return self.data[TEXTS[self.kind]]  # not moved beside it yet


# The kinds of event, but messages, that a person writes a text with, and what the text
# is called in frames.
TEXTS = {
    Event.Kind.KICK: "reason",
    Event.Kind.TOPIC: "topic",
    Event.Kind.CLEAR: "reason",
}


class EventText(models.Model):
    """The text that a person wrote with an event of one of the kinds in TEXTS.

    It is a row of its own, perhaps an empty one, so that it can be erased while the
    log stays as it was. The text of a message is messaging's.
    """

    event = models.OneToOneField(
        Event, models.CASCADE, primary_key=True, related_name="text"
    )
    body = models.TextField(blank=True)

    def __str__(self):
        return self.body


# Writing ------------------------------------------------------------------------------

# The outer SELECT reads the clock when a row is handed up, which is after its lock was
# taken; Now() would be the time when the statement began to wait for it.
LOCK_HEADS = """
    SELECT room_id, seq, here, clock_timestamp(),
           (SELECT epoch FROM rooms_installation)
    FROM (
        SELECT room_id, seq, here FROM rooms_head
        WHERE room_id = ANY(%s) ORDER BY room_id FOR UPDATE
    ) AS locked
"""
LOCKED_HEADS = """
    WITH free AS (
        SELECT room_id FROM rooms_head
        WHERE room_id = ANY(%s) FOR UPDATE SKIP LOCKED
    )
    SELECT room_id FROM rooms_head
    WHERE room_id = ANY(%s) AND room_id NOT IN (SELECT room_id FROM free)
"""
# A list of rows travels as one JSON value: neither the driver nor the planner sees more
# of a batch of 200 than of one of 1.
STORE_EVENTS = """
    WITH grown AS (
        UPDATE rooms_head AS head SET seq = new.seq, here = new.here
        FROM json_to_recordset(%s) AS new(room_id bigint, seq bigint, here int)
        WHERE head.room_id = new.room_id
    )
    INSERT INTO rooms_event
        (room_id, seq, kind, at, actor_id, target_id, about, data)
    SELECT room_id, seq, kind, at, actor_id, target_id, about, data
    FROM json_to_recordset(%s) AS new(
        room_id bigint, seq bigint, kind text, at timestamptz,
        actor_id bigint, target_id bigint, about bigint, data jsonb
    )
    RETURNING room_id, seq, id
"""
STORE_TEXTS = """
    INSERT INTO rooms_eventtext (event_id, body)
    SELECT event_id, body FROM json_to_recordset(%s) AS new(event_id bigint, body text)
"""
HEAD_FIELDS = ("room_id", "seq", "here")
EVENT_FIELDS = (
    "room_id",
    "seq",
    "kind",
    "at",
    "actor_id",
    "target_id",
    "about",
    "data",
)
PRESENCE = {Event.Kind.ENTER: +1, Event.Kind.LEAVE: -1}


def locked(room_ids):
    """Which of these rooms somebody else is writing to now: a set of ids."""
    ids = list(room_ids)
    with connection.cursor() as cursor:
        cursor.execute(LOCKED_HEADS, [ids, ids])
        return {room_id for (room_id,) in cursor.fetchall()}


def waited_in_vain(error):
    """Whether the database's error is that a lock was not let go in time."""
    return isinstance(error.__cause__, LockNotAvailable)


@contextmanager
def writing(*room_ids):
    """Open the logs of these rooms for writing, in one transaction.

    Rooms are locked in order of id, so that two writers cannot wait for each other.
    Rooms that do not exist are absent from `log.rooms`.
    """
    with transaction.atomic():
        log = Log(room_ids)
        yield log
        log.flush()


class Log:
    """The locked logs of some rooms; made by `writing`.

    `rooms` is the set of locked room ids, `now` the database's clock after locking,
    `epoch` that of the numbers given here.
    """

    def __init__(self, room_ids) -> None:
        with connection.cursor() as cursor:
            cursor.execute(LOCK_HEADS, [sorted(set(room_ids))])
            rows = cursor.fetchall()
        self._heads = {
            row[0]: Head(room_id=row[0], seq=row[1], here=row[2]) for row in rows
        }
        self._events = []
        self.now = max((row[3] for row in rows), default=None)
        self.epoch = rows[0][4] if rows else ""

    @property
    def rooms(self):
        return self._heads.keys()

    def head(self, room_id):
        """The highest number given so far, those of this transaction included."""
        return self._heads[room_id].seq

    def append(self, room_id, kind, actor, *, target=None, about=None, text="", **data):
        """Give the room's next number to an event; it is stored at the next flush.

        `text` is what a person wrote with it, where its kind is one of TEXTS.
        """
        head = self._heads[room_id]
        head.seq += 1
        head.here += PRESENCE.get(kind, 0)
        event = Event(
            room_id=room_id,
            seq=head.seq,
            kind=kind,
            at=self.now,
            actor=actor,
            target=target,
            about=about,
            data=data,
        )
        if kind in TEXTS:
            event.text = EventText(event=event, body=text)
            # The release before this one looks for it here, and must not fall over.
            event.data[TEXTS[kind]] = ""
        self._events.append(event)
        return event

    def flush(self) -> None:
        """Store what was appended, in one statement whatever its number; the texts,
        if there are any, in another."""
        events, self._events = self._events, []
        if not events:
            return
        groups = _by_room(events)
        heads = [self._heads[room_id] for room_id in groups]
        with connection.cursor() as cursor:
            cursor.execute(
                STORE_EVENTS,
                [as_json(heads, HEAD_FIELDS), as_json(events, EVENT_FIELDS)],
            )
            ids = {(room_id, seq): pk for room_id, seq, pk in cursor.fetchall()}
        for event in events:
            event.pk = ids[event.room_id, event.seq]
            event._state.adding = False
        _store_texts([event for event in events if event.kind in TEXTS])
        for room_id, group in groups.items():
            announce = partial(_announce, room_id, self.epoch, group)
            transaction.on_commit(announce, robust=True)


def _store_texts(events) -> None:
    if not events:
        return
    for event in events:
        event.text.event_id = event.pk
    texts = as_json([event.text for event in events], ("event_id", "body"))
    with connection.cursor() as cursor:
        cursor.execute(STORE_TEXTS, [texts])


def as_json(rows, fields):
    """These fields of the rows (objects), for json_to_recordset."""
    return orjson.dumps(
        [{name: getattr(row, name) for name in fields} for row in rows]
    ).decode()


def _by_room(events):
    groups = defaultdict(list)
    for event in events:
        groups[event.room_id].append(event)
    return groups


def _announce(room_id, epoch, events) -> None:
    signals.appended.send(sender=Event, room_id=room_id, epoch=epoch, events=events)


@contextmanager
def reading(room_id):
    """Nobody writes to the room's log meanwhile: for reading a whole that is true at
    one number. Others may read at the same time."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT FROM rooms_head WHERE room_id = %s FOR SHARE", [room_id]
            )
        yield
