"""Removing deleted rooms for good: the only way in which an event ceases to be.

It goes bit by bit, so that no lock lasts. An end in the middle leaves a room that
nobody sees or can bring back; the next purge goes on with it.
"""

from django.db import OperationalError, connection, transaction
from django.db.models import Max

from rooms.models import Event, Head, Room, Visit
from rooms.models.log import waited_in_vain

AT_ONCE = 10_000  # rows
LOCK_WITHIN = "5s"


def claim(room):
    """From now on nobody writes to the room or brings it back: both lock its head.

    False if it was brought back just now, or somebody holds the lock.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'")
            Head.objects.filter(room=room).delete()
            is_due = Room.everything.due().filter(pk=room.pk).exists()
            transaction.set_rollback(not is_due)
            return is_due
    except OperationalError as error:
        if not waited_in_vain(error):
            raise
        return False


def remove(room):
    """Remove a claimed Room; yields how many events are gone since the last yield."""
    last = Event.objects.of(room.pk).aggregate(last=Max("seq"))["last"] or 0
    for first in range(1, last + 1, AT_ONCE):
        some = Event.objects.of(room.pk).between(first, first + AT_ONCE - 1)
        _rows, by_model = some.delete()
        yield by_model.get(Event._meta.label, 0)
    delete_in_batches(Visit.objects.filter(room=room))
    room.delete()


def delete_in_batches(rows) -> None:
    """Some at a time: an end in the middle leaves those that are gone gone."""
    rows, last = rows.order_by("pk"), None
    while True:
        some = rows.filter(pk__gt=last) if last is not None else rows
        ids = list(some.values_list("pk", flat=True)[:AT_ONCE])
        if not ids:
            return
        rows.filter(pk__in=ids).delete()
        last = ids[-1]
