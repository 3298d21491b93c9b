"""How much one person may send, and how many may come in at a time."""

import asyncio
import time
from contextlib import asynccontextmanager

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from rooms.rights import Refused

RATE = settings.FRAMES_PER_SECOND
BURST = 2 * RATE
FLOOD = -6 * RATE  # this far in debt is no mishap any more
MAX_UNANSWERED = 32  # posts of one socket
ENTERING = 100  # sockets that come in at the same time; half a batch of the writer
MAX_IN_LINE = 5_000


class Bucket:
    """A token bucket that can run into debt, so that it sees who goes on regardless."""

    __slots__ = ("__weakref__", "_at", "_tokens")

    def __init__(self, now=time.monotonic):
        self._tokens = BURST
        self._at = now()

    def take(self, now=time.monotonic):
        """Take one token. True if there was one."""
        at = now()
        self._tokens = min(BURST, self._tokens + (at - self._at) * RATE) - 1
        self._at = at
        return self._tokens >= 0

    @property
    def flooded(self):
        return self._tokens < FLOOD

    @property
    def full_in(self):
        """Seconds from the last take until nobody can tell it from a new one."""
        return (BURST - self._tokens) / RATE


class Gate:
    """Who comes back after a restart comes with everybody else: a few go in at a time,
    the others stand in line, and who finds it too long is told to come again."""

    def __init__(self):
        self._places = asyncio.Semaphore(ENTERING)
        self.in_line = 0

    @asynccontextmanager
    async def passing(self):
        """Come in, when it is one's turn. Raises Refused where too many wait."""
        if self.in_line >= MAX_IN_LINE:
            raise Refused("busy", _("Too many come at once. Try again in a moment."))
        self.in_line += 1
        try:
            async with self._places:
                yield
        finally:
            self.in_line -= 1
