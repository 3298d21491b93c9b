"""Reading the logs of rooms: pages for people, records for the hub. All sync."""

from typing import NamedTuple

from django.db import connection

from messaging import protocol
from messaging.protocol import LINE_COLUMNS, Line
from rooms.log import reading
from rooms.models import Event, Head, Installation, Membership, Room
from rooms.models.log import timestamp

RING = 1_000  # the newest records that a hub keeps in memory
PAGE = 50


class Record(NamedTuple):
    """One event as it travels: encoded once, for everybody."""

    seq: int
    kind: str
    json: bytes

    @classmethod
    def of(cls, line):
        # orjson's bytes keep the 4 KiB that it wrote them in; a copy has its own size.
        json = bytes(memoryview(protocol.encode(protocol.event(line))))
        return cls(line.seq, line.kind, json)


class Snapshot(NamedTuple):
    """A room at its head: what a page, or a hub, starts from."""

    epoch: str
    head: int
    floor: int
    room: dict
    here: list[dict]


def snapshot(room):
    """The Snapshot of a room (with its head read along), as it is at this moment.

    Exact only inside `reading`; a page has the small rest put right by its welcome.
    """
    return Snapshot(
        epoch=Installation.current().epoch,
        head=room.head.seq,
        floor=room.floor,
        room=facts(room),
        here=here(room.pk),
    )


def opening(room_id):
    """What a hub begins to show a room with: an exact Snapshot, and the newest records
    up to its head. Room.DoesNotExist if there is no such room (any more)."""
    with reading(room_id):
        start = snapshot(Room.objects.with_heads().get(pk=room_id))
    return start, records(room_id, start.head - RING + 1, start.head)


def reopening(room_id, user_ids):
    """As `opening`, and which of these people are members, read after it: a set."""
    opened = opening(room_id)
    members = Membership.objects.filter(room_id=room_id, user_id__in=user_ids)
    return opened, set(members.values_list("user_id", flat=True))


def lines(events):
    """The Lines of a queryset of events."""
    return [Line(*row) for row in events.values_list(*LINE_COLUMNS)]


def facts(room):
    """What everybody in a room may know of it."""
    return {
        "name": room.name,
        "slug": room.slug,
        "topic": room.topic,
        "archived": room.archived_at is not None,
    }


def here(room_id):
    """The people in a room, longest first: [{"id", "name", "role", "since"}]."""
    with connection.cursor() as cursor:
        cursor.execute(HERE, [room_id])
        return [
            {"id": pk, "name": name, "role": role, "since": timestamp(since)}
            for pk, name, role, since in cursor.fetchall()
        ]


HERE = """
    SELECT person.id, username, role, min(opened_at) AS since
    FROM rooms_visit AS visit
    JOIN accounts_user AS person ON person.id = visit.user_id
    LEFT JOIN rooms_membership AS member USING (room_id, user_id)
    WHERE room_id = %s AND NOT settled
    GROUP BY person.id, role ORDER BY since, person.id
"""


def records(room_id, first, last):
    """The records numbered `first` to `last`, both included."""
    events = Event.objects.of(room_id).between(first, last)
    return [Record.of(line) for line in lines(events)]


def growth(room_id, first, last):
    """(epoch, records): read in this order, the records are of that epoch if it is the
    one that was known before."""
    found = records(room_id, first, last)
    return Installation.current().epoch, found


def heads(room_ids):
    """(epoch, {room_id: seq}, {slug: people here}); the last of all rooms in use."""
    seqs = Head.objects.filter(room_id__in=room_ids).values_list("room_id", "seq")
    counts = Head.objects.filter(here__gt=0).values_list("room__slug", "here")
    return Installation.current().epoch, dict(seqs), dict(counts)


class Page(NamedTuple):
    """Some events in order, and whether there are more on either side."""

    events: list[dict]
    more_before: bool
    more_after: bool


def page(room, head, *, before=None, after=None, around=None, limit=PAGE):
    """A page of a room's log, never below its floor.

    By the numbers: they have no hole, so any page is one range of the index.
    """
    first, last = _range(room.floor, head, before, after, around, limit)
    events = Event.objects.of(room.pk).between(first, last)
    return Page(
        events=[protocol.event(line) for line in lines(events)],
        more_before=first > room.floor,
        more_after=last < head,
    )


def _range(floor, head, before, after, around, limit):
    """The first and the last number of a page, both between the floor and the head."""
    if before is not None:
        last = min(before - 1, head)
        return max(floor, last - limit + 1), last
    if after is not None:
        first = max(floor, after + 1)
    else:
        middle = head if around is None else around
        first = max(floor, min(middle - limit // 2, head - limit + 1))
    return first, min(first + limit - 1, head)
