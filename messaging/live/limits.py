"""How much one person may send, and how many sockets are admitted at a time."""

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
MAX_WAITING = 5_000


class Bucket:
    """A token bucket that can run into debt, so that it sees who goes on regardless."""

    __slots__ = ("__weakref__", "_at", "_tokens")

    def __init__(self, now=time.monotonic) -> None:
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


class AdmissionLimiter:
    """Clients reconnect together after a restart: a few are admitted at a time, the
    others wait, and once too many wait, one is told to try again."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(ENTERING)
        self.waiting = 0

    @asynccontextmanager
    async def slot(self):
        """Admit a socket, when it is its turn. Raises Refused where too many wait."""
        if self.waiting >= MAX_WAITING:
            raise Refused(
                "busy", _("Too many people are connecting. Try again in a moment.")
            )
        self.waiting += 1
        try:
            async with self._places:
                yield
        finally:
            self.waiting -= 1
