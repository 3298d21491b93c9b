"""What one server process runs beside its requests: started once, kept running."""

import asyncio
import logging
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from django.db import DatabaseError
from django.utils.translation import gettext_lazy as _

from messaging import commands, database, metrics
from messaging.live.heartbeat import Heartbeat
from messaging.live.hub import Hub
from messaging.live.limits import AdmissionLimiter, Bucket
from messaging.live.loop_lag import LoopLag
from messaging.rendering.pool import Pool
from messaging.writing.queue import Writer
from rooms.rights import Refused

logger = logging.getLogger(__name__)

RESTART_AFTER = 1.0  # seconds
COMMANDS_AT_ONCE = 2  # of the database's threads


class Runtime:
    """The writer, the hub and the heartbeat of this process, in its event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.rendering = Pool()
        self.writer = Writer()
        self.hub = Hub()
        self.heartbeat = Heartbeat(self.hub)
        self.admission_limiter = AdmissionLimiter()
        self.lag = LoopLag()
        self._acting = asyncio.Semaphore(COMMANDS_AT_ONCE)
        self.draining = False  # the process stops: nobody comes in any more
        # {user's id: Bucket}
        self.buckets: WeakValueDictionary[int, Bucket] = WeakValueDictionary()
        hub, relay = self.hub, self.hub.relay
        metrics.watch(self)
        self._tasks = [
            self.loop.create_task(_keep_running(work))
            for work in (
                self.heartbeat.run,
                self.heartbeat.sweep,
                self.rendering.keep,
                hub.poll,
                hub.sweep_sessions,
                relay.listen,
                relay.send,
                database.cut_hung_connections,
                self.lag.measure,
            )
        ]

    def bucket(self, user_id):
        """The one allowance of a person, whatever the number of their sockets. It lasts
        only as long as somebody holds it: each socket does."""
        return self.buckets.setdefault(user_id, Bucket())

    def keep_until_full(self, bucket) -> None:
        """A socket is gone; who comes back with another must not find a new bucket."""
        self.loop.call_later(bucket.full_in, lambda: bucket)

    @asynccontextmanager
    async def admission(self):
        """A socket comes in, when it is its turn. Raises Refused where it cannot."""
        if self.draining:
            raise Refused("try_later", _("The server is restarting."))
        async with self.admission_limiter.slot():
            yield

    async def act(self, command, user, room_id):
        """Do what a command says; few at a time: each may wait for a room's lock."""
        async with self._acting:
            return await database.run_in_database(commands.run, command, user, room_id)

    async def drain(self) -> None:
        """Stop in peace: nobody comes in any more, all pages are told to come back (to
        another process, or to the next of this one), and what waits is written."""
        self.draining = True
        await self.hub.drain()
        await self.writer.finish()


async def _keep_running(work) -> None:
    """Run `work`, which has no end; a fault of the database must not give it one."""
    while True:
        try:
            await work()
        except Exception as error:
            logger.warning(
                "%s broke off, and begins again: %r", work.__qualname__, error
            )
        await asyncio.sleep(RESTART_AFTER)


_current = None


def start() -> None:
    """Start the runtime in the running event loop; later calls do nothing."""
    global _current
    if _current is None:
        _current = Runtime()


def current():
    """The process's Runtime; None where none runs, as in a management command."""
    return _current


def stop() -> None:
    """The server has stopped: say so to the log (sync, without the event loop)."""
    if _current is None:
        return
    try:
        _current.heartbeat.stop()
    except (TimeoutError, DatabaseError) as error:
        logger.warning("the others will find this process dead: %r", error)
