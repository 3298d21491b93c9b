"""What a prober asks: does the process live, can it serve, and how does it fare?

An ASGI application of its own before Django: it answers whatever the host, without a
redirect to https or a session, and while PostgreSQL hangs.
"""

import asyncio
from functools import cache, partial
from ipaddress import ip_address

import orjson
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http.request import split_domain_port
from prometheus_client import make_asgi_app

from messaging.database import run_in_database
from messaging.live import runtime

DATABASE_WITHIN = 1.5  # seconds
FRESH = 1.0  # seconds that an answer of the database is good for
MAX_LAG = 1.0  # seconds
MAX_AGE = 5.0  # of what waits to be written, where nobody else locks its room


class Probes:
    """An ASGI application that answers probes and passes on the rest."""

    def __init__(self, application) -> None:
        self.application = application
        self.database = Database()
        self.for_all = {
            "/healthz": health,
            "/readyz": partial(readiness, self.database),
        }
        self.for_locals = {"/metrics": make_asgi_app()}

    async def __call__(self, scope, receive, send) -> None:
        await self.find(scope)(scope, receive, send)

    def find(self, scope):
        path = scope["path"]
        if path in self.for_locals and is_local(scope):
            return self.for_locals[path]
        return self.for_all.get(path, self.application)


def is_local(scope):
    """Whether who asks sits on this machine, with nobody between.

    A proxy gives itself away by what it adds, one that adds nothing by the public host;
    so does a page that had its own name point to this machine (DNS rebinding).
    """
    headers = dict(scope["headers"])
    if any(is_of_proxy(name) for name in headers):
        return False
    host, _port = split_domain_port(headers.get(b"host", b"").decode("latin-1"))
    client = scope["client"]  # None on a unix socket
    return host in settings.LOOPBACK and (
        client is None or ip_address(client[0]).is_loopback
    )


def is_of_proxy(header):
    return header in (b"forwarded", b"via", b"x-real-ip") or header.startswith(
        b"x-forwarded-"
    )


async def health(scope, receive, send) -> None:
    """The process and its event loop answer. That is all a restart can mend."""
    await answer(send, 200, {"status": "alive"})


async def readiness(database, scope, receive, send) -> None:
    """200 where new people can be served, else 503; and what is wrong."""
    live = runtime.current()
    troubles = process_troubles(live) | await database.troubles()
    if troubles:
        status, word = 503, "not ready"
    elif troubles := redis_troubles(live):  # slower, not worse
        status, word = 200, "degraded"
    else:
        status, word = 200, "ready"
    await answer(send, status, {"status": word, "problems": troubles})


def process_troubles(live):
    troubles = {}
    if live.draining:
        troubles["draining"] = "The process is stopping."
    if live.heartbeat.node is None:
        troubles["node"] = "The process is not, or not yet, among the living."
    if live.lag.worst > MAX_LAG:
        troubles["event_loop"] = f"The event loop was {live.lag.worst:.1f} s late."
    if live.writer.age > MAX_AGE:
        troubles["writer"] = f"A post has waited for {live.writer.age:.0f} s."
    return troubles


def redis_troubles(live):
    if live.hub.relay.is_connected:
        return {}
    return {"redis": "Redis is away: talk between processes waits for their poll."}


class Database:
    """What is wrong with PostgreSQL: asked by one at a time and once a second at most,
    for strangers may ask, and while it hangs each question keeps a thread."""

    def __init__(self) -> None:
        self._asking = None
        self._asked_at = float("-inf")

    async def troubles(self):
        try:
            async with asyncio.timeout(DATABASE_WITHIN):
                missing = await asyncio.shield(self._ask())
        except (TimeoutError, Error):
            return {"database": "PostgreSQL does not answer."}
        if missing:
            return {"migrations": f"Run manage.py migrate: {missing} not applied."}
        return {}

    def _ask(self):
        now = asyncio.get_running_loop().time()
        done = self._asking is None or self._asking.done()
        if done and now - self._asked_at >= FRESH:
            self._asking = asyncio.create_task(run_in_database(missing_migrations))
            self._asked_at = now
        return self._asking


def missing_migrations():
    """How many migrations of this version the database lacks (sync)."""
    return len(migrations() - MigrationRecorder(connection).applied_migrations().keys())


@cache
def migrations():
    return MigrationLoader(None).disk_migrations.keys()


async def answer(send, status, content) -> None:
    """Send `content` as JSON."""
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(content)})
