"""Reading the logs of rooms: pages for people, records for the hub. All sync."""

from itertools import accumulate
from typing import NamedTuple

import orjson
from django.db import connection

from messaging import protocol
from messaging.protocol import EVENT_COLUMNS, EventFields
from rooms.models import Event, Head, Installation, Membership, Room
from rooms.models.log import reading, timestamp

RING = 1_000  # the newest records that a hub keeps in memory
PAGE = 50
PAGE_BYTES = 1024 * 1024  # of events, at most, in a page
PIECE_BYTES = 256 * 1024  # of a replay, read and sent at a time
READ_BYTES = 1024 * 1024  # for a hub that opens a room, or is behind


class Record(NamedTuple):
    """One event as it travels: encoded once, for everybody."""

    seq: int
    kind: str
    json: bytes

    @classmethod
    def of(cls, fields):
        # orjson's bytes keep the 4 KiB that it wrote them in; a copy has its own size.
        json = bytes(memoryview(protocol.encode(protocol.event(fields))))
        return cls(fields.seq, fields.kind, json)


class Snapshot(NamedTuple):
    """A room at its head: what a page, or a hub, starts from."""

    epoch: str
    head: int
    floor: int
    room: dict
    here: list[dict]


def snapshot(room, people=None):
    """The Snapshot of a room (with its head read along), as it is at this moment;
    `people` is how many of those present it names at most.

    Exact only inside `reading`; a page has the small rest put right by its welcome.
    """
    return Snapshot(
        epoch=Installation.current().epoch,
        head=room.head.seq,
        floor=room.floor,
        room=facts(room),
        here=here(room.pk, people),
    )


def opening(room_id):
    """What a hub begins to show a room with: an exact Snapshot, and the newest records
    up to its head. Room.DoesNotExist if there is no such room (any more)."""
    with reading(room_id):
        start = snapshot(Room.objects.with_heads().get(pk=room_id))
    first, last = max(1, start.head - RING + 1), start.head
    return start, records(room_id, first, last, around=last, size=READ_BYTES)


def reopening(room_id, user_ids):
    """As `opening`, and which of these people are members, read after it: a set."""
    opened = opening(room_id)
    members = Membership.objects.filter(room_id=room_id, user_id__in=user_ids)
    return opened, set(members.values_list("user_id", flat=True))


def fields_of(events):
    """The EventFields of a queryset of events."""
    return [EventFields(*row) for row in events.values_list(*EVENT_COLUMNS)]


def facts(room):
    """What everybody in a room may know of it."""
    return {
        "name": room.name,
        "slug": room.slug,
        "topic": room.topic,
        "archived": room.archived_at is not None,
    }


def here(room_id, limit=None):
    """The people in a room, longest first: [{"id", "name", "role", "since"}]; the first
    `limit` of them."""
    with connection.cursor() as cursor:
        cursor.execute(HERE, [room_id, limit])
        return [
            {"id": pk, "name": name, "role": role, "since": timestamp(since)}
            for pk, name, role, since in cursor.fetchall()
        ]


HERE = """
    SELECT person.id, username, role, since
    FROM (
        SELECT room_id, user_id, min(opened_at) AS since FROM rooms_visit
        WHERE room_id = %s AND NOT settled
        GROUP BY room_id, user_id ORDER BY since, user_id LIMIT %s
    ) AS visit
    JOIN accounts_user AS person ON person.id = visit.user_id
    LEFT JOIN rooms_membership AS member USING (room_id, user_id)
    ORDER BY since, person.id
"""


def records(room_id, first, last, *, around=None, size=PIECE_BYTES):
    """The records numbered `first` to `last`, both included. Where they have more than
    `size` bytes: those nearest to the number `around` (which is `first`), one at least.
    """
    around = first if around is None else around
    bounds = _bounds(room_id, first, last, around, size)
    events = Event.objects.of(room_id).between(*bounds)
    return _fitting([Record.of(fields) for fields in fields_of(events)], around, size)


def _bounds(room_id, first, last, around, size):
    """The numbers between which `size` bytes are stored, so that no more is read."""
    with connection.cursor() as cursor:
        cursor.execute(BOUNDS, [around, room_id, first, last, size, around])
        low, high = cursor.fetchone()
        return (first, first - 1) if low is None else (low, high)


# Its JSON is at least as large as what is counted of an event here, and rarely larger.
BOUNDS = """
    SELECT min(seq), max(seq) FROM (
        SELECT seq, sum(coalesce(octet_length(body) + octet_length(html), 0))
                    OVER (ORDER BY abs(seq - %s), seq) AS size
        FROM rooms_event
        LEFT JOIN messaging_message ON event_id = rooms_event.id
        WHERE room_id = %s AND seq BETWEEN %s AND %s
    ) AS event
    WHERE size <= %s OR seq = %s
"""


def _fitting(found, around, size):
    nearest = sorted(found, key=lambda record: (abs(record.seq - around), record.seq))
    sizes = accumulate(len(record.json) + 1 for record in nearest)
    count = sum(so_far <= size for so_far in sizes)
    return sorted(nearest[: max(count, 1)])


def growth(room_id, first, last):
    """(epoch, records): read in this order, the records are of that epoch if it is the
    one that was known before."""
    found = records(room_id, first, last, size=READ_BYTES)
    return Installation.current().epoch, found


def heads(room_ids):
    """(epoch, {room_id: seq})"""
    seqs = Head.objects.filter(room_id__in=room_ids).values_list("room_id", "seq")
    return Installation.current().epoch, dict(seqs)


def present_counts(slugs):
    """{slug: people in the room}, without rooms that do not exist or were deleted."""
    rooms = Room.objects.filter(slug__in=slugs)
    return dict(rooms.values_list("slug", "head__here"))


class Page(NamedTuple):
    """Some records in order, and whether there are more on either side."""

    records: list[Record]
    more_before: bool
    more_after: bool

    @property
    def events(self):
        return [orjson.loads(record.json) for record in self.records]


def page(
    room, head, *, before=None, after=None, around=None, limit=PAGE, size=PAGE_BYTES
):
    """A page of a room's log, never below its floor: `limit` events, or fewer that have
    `size` bytes, but one at least where there is one.

    By the numbers: they have no hole, so any page is one range of the index.
    """
    first, last, middle = _range(room.floor, head, before, after, around, limit)
    if first > last:
        return Page([], first > room.floor, last < head)
    found = records(room.pk, first, last, around=middle, size=size)
    return Page(found, found[0].seq > room.floor, found[-1].seq < head)


def _range(floor, head, before, after, around, limit):
    """The first and the last number of a page, both between the floor and the head, and
    the one to stay near where they are too much."""
    if before is not None:
        last = min(before - 1, head)
        return max(floor, last - limit + 1), last, last
    if after is not None:
        first = max(floor, after + 1)
        return first, min(first + limit - 1, head), first
    middle = head if around is None else max(floor, min(around, head))
    first = max(floor, min(middle - limit // 2, head - limit + 1))
    return first, min(first + limit - 1, head), middle
