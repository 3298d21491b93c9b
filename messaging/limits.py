"""How much one person may send."""

import time

from django.conf import settings

RATE = settings.FRAMES_PER_SECOND
BURST = 2 * RATE
FLOOD = -6 * RATE  # this far in debt is no mishap any more
MAX_UNANSWERED = 32  # posts of one socket


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
