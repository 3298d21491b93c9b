"""That this server process lives, and whose visits end because one does not."""

import asyncio
import logging
import math
import os
import socket
import time

from django.utils.translation import gettext_lazy as _

from messaging import metrics
from messaging.database import (
    run_heartbeat_in_database,
    run_in_database,
    run_last_in_database,
)
from messaging.protocol import Close
from rooms.models import Installation, Node, attendance
from rooms.models.attendance import DEAD_AFTER, HEARTBEAT_EVERY

logger = logging.getLogger(__name__)

MAX_PAUSE = 2 * HEARTBEAT_EVERY  # between two heartbeats of a process that is well
SWEEP_WITHIN = 5.0  # seconds; what is left then waits for the next sweep


class Heartbeat:
    """Keeps this process's row among the nodes alive, and does what is due for all."""

    def __init__(self, hub) -> None:
        self._hub = hub
        self.node: Node | None = None
        self._known = asyncio.Event()
        self._renewed_at = -math.inf
        self._steady_since = 0.0

    async def node_id(self):
        """The id of this incarnation; waits until it has one."""
        while self.node is None:
            await self._known.wait()
        return self.node.pk

    async def run(self) -> None:
        """Run for ever. A process that finds itself declared dead closes all sockets
        (their visits are closed already) and becomes a new incarnation."""
        while True:
            if self.node is None:
                self.node = await run_heartbeat_in_database(_begin)
                self._known.set()
            elif not await run_heartbeat_in_database(self.node.renew):
                logger.error("this process was declared dead; starting anew")
                metrics.DECLARED_DEAD.inc()
                self.node = None
                self._known.clear()
                await self._hub.close_all(Close.RESTART, _("The server is restarting."))
                continue
            self._note(time.monotonic())
            await asyncio.sleep(HEARTBEAT_EVERY)

    async def sweep(self) -> None:
        """Run for ever, beside the heartbeat, which must not wait for it."""
        while True:
            await asyncio.sleep(HEARTBEAT_EVERY)
            if self._is_steady(time.monotonic()):
                await run_in_database(attendance.sweep, SWEEP_WITHIN)

    def _note(self, now) -> None:
        if now - self._renewed_at > MAX_PAUSE:
            self._steady_since = now
        self._renewed_at = now

    def _is_steady(self, now):
        """Whether this process has beaten for as long as another may be silent. To one
        that was cut off from the database, everybody seems dead who was cut off, too;
        and those who lost their connection meanwhile are on their way back."""
        is_alive = now - self._renewed_at <= MAX_PAUSE
        return is_alive and now - self._steady_since > DEAD_AFTER.total_seconds()

    def stop(self) -> None:
        """The process stops (sync): its visits end, with the cause."""
        if self.node is not None:
            run_last_in_database(attendance.stop_node, self.node)


def _begin():
    Installation.current()  # so that every number this process gives has an epoch
    return Node.objects.create(name=f"{socket.gethostname()}:{os.getpid()}"[:100])
