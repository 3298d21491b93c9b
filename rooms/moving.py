"""What former releases stored elsewhere, moved to where this one keeps it.

`prepare` and `restore` do it each time: a former release may have written on while the
servers were replaced one by one. Until then, readers look in both places.
"""

from django.db import connection
from django.db.models import Max

from rooms.models.log import TEXTS, Event

AT_ONCE = 50_000  # ids of events that one statement looks at

# The empty text that stays keeps the former release readable.
MOVE_TEXTS = """
    WITH moved AS (
        INSERT INTO rooms_eventtext (event_id, body)
        SELECT id, coalesce(data ->> 'reason', data ->> 'topic', '')
        FROM rooms_event WHERE id = ANY(%s)
    )
    UPDATE rooms_event SET data = data || jsonb_build_object(
        CASE kind WHEN 'topic' THEN 'topic' ELSE 'reason' END, ''
    )
    WHERE id = ANY(%s)
"""


def move_texts():
    """Move reasons and topics out of `Event.data`, a stretch of the table at a time, so
    that no lock lasts; done again, it moves what is left. Returns how many it moved."""
    last = Event.objects.aggregate(last=Max("pk"))["last"] or 0
    return sum(_move_texts(start) for start in range(0, last, AT_ONCE))


def _move_texts(start):
    ids = list(
        Event.objects.filter(kind__in=TEXTS, text=None)
        .filter(pk__gt=start, pk__lte=start + AT_ONCE)
        .values_list("pk", flat=True)
    )
    if ids:
        with connection.cursor() as cursor:
            cursor.execute(MOVE_TEXTS, [ids, ids])
    return len(ids)
