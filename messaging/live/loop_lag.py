"""How late this process's event loop is: what delays one delays all its sockets."""

import asyncio
from collections import deque

from messaging import metrics

EVERY = 0.25  # seconds
RECENT = 40  # measurements: the last 10 seconds


class LoopLag:
    def __init__(self) -> None:
        self._recent = deque([0.0], maxlen=RECENT)

    @property
    def worst(self):
        """The longest delay of late, in seconds."""
        return max(self._recent)

    async def measure(self) -> None:
        """Run for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            lag = max(0.0, loop.time() - due)
            self._recent.append(lag)
            metrics.LOOP_LAG.observe(lag)
