"""How long a kick keeps somebody out of a room, and what they are told meanwhile."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.utils.translation import gettext, ngettext

from rooms.clock import CLOCK
from rooms.models.log import Event


class Removal(NamedTuple):
    """A kick that still keeps its target out."""

    by: str
    reason: str
    ends: datetime
    left: timedelta

    def __str__(self) -> str:
        """Who did it, why, and when one can join again: sentences for the target."""
        return f"{self._what} {self._when}"

    @property
    def _what(self):
        words = {"name": self.by, "reason": self.reason}
        if self.reason:
            told = gettext("You were removed from this room by %(name)s: “%(reason)s”.")
        else:
            told = gettext("You were removed from this room by %(name)s.")
        return told % words

    @property
    def _when(self):
        minutes = in_minutes(self.left)
        told = ngettext(
            "You can join again in %(minutes)s minute.",
            "You can join again in %(minutes)s minutes.",
            minutes,
        )
        return told % {"minutes": minutes}


def in_minutes(span):
    """A timedelta in whole minutes, rounded up."""
    return -(-span // timedelta(minutes=1))


def removal_of(user, room):
    """The Removal that keeps `user` out of `room` now, or None.

    Read from the log, by the database's clock. Exact under the room's lock.
    """
    kicks = room.events.filter(kind=Event.Kind.KICK, target=user)
    last = (
        kicks.select_related("actor", "text")
        .annotate(now=CLOCK)
        .order_by("-seq")
        .first()
    )
    if last is None:
        return None
    ends = last.at + timedelta(seconds=settings.KICK_SECONDS)
    if ends <= last.now:
        return None
    return Removal(last.actor.username, last.written, ends, ends - last.now)
