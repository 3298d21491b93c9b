"""Whose sockets an event closes: who is no member any more by it."""

import orjson
from django.utils.translation import gettext_lazy as _

from messaging.history import Record
from messaging.protocol import Close
from rooms.models import Event

REVOKES: dict[str, str] = {Event.Kind.KICK: "target", Event.Kind.PART: "user"}
EVERYBODY = -1  # in place of a person's id: the room was deleted
REMOVED = (Close.NOT_ALLOWED, _("You’re no longer a member of this room."))
DELETED = (Close.NO_SUCH_ROOM, _("This room was deleted."))


def removed_by(record: Record) -> int | None:
    """The id of the person who is no member any more by this record, if any, or
    EVERYBODY."""
    if record.kind == Event.Kind.DELETE_ROOM:
        return EVERYBODY
    who = REVOKES.get(record.kind)
    return orjson.loads(record.json)[who]["id"] if who else None


def farewell_to(removed: int | None):
    """The (close code, sentence) for sockets of whom an event removed."""
    return DELETED if removed == EVERYBODY else REMOVED
