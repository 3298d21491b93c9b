"""What can be seen of a server process: from outside, in the database, and, where it
is an instrumented server, inside it. For tests that look for leaks."""

import asyncio
import re

import psutil
from asgiref.sync import sync_to_async
from django.db import connection

from rooms.models import Visit

# On a machine with much to do Redis is late now and then, and the relay says so. And
# asgiref may lose sight of a request whose browser went away while a page was made.
# Sign-ins and sign-outs are told by the security record.
HARMLESS = (
    r" messaging\.live\.relay: | INFO rollcall\.security: "
    r"|exception was never retrieved.*CancelledError\(\)"
)


def memory(server):
    """Bytes of a server process that are resident."""
    return psutil.Process(server.process.pid).memory_info().rss


def outside(server):
    """{name: number} of what the system gave a server process."""
    process = psutil.Process(server.process.pid)
    return {"descriptors": process.num_fds(), "threads": process.num_threads()}


def stored():
    """{name: number} of what servers keep in the database (sync)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        sessions = cursor.fetchone()[0]
    return {
        "database sessions": sessions,
        "open visits": Visit.objects.open().count(),
        "unsettled visits": Visit.objects.unsettled().count(),
    }


def complaints(log):
    """The lines of a server's log that tell of a fault."""
    return [line for line in log.splitlines() if not re.search(HARMLESS, line)]


# What there is only while somebody is there.
OF_VISITORS = (
    "sockets",
    "signed-in browsers",
    "connections",
    "requests waiting",
    "work in background",
    "open visits",
)


async def look(server):
    """All numbers of an InstrumentedServer, {name: number}; and {type: how many
    objects}."""
    told = await asyncio.to_thread(server.tell)
    objects = told.pop("objects")
    found = await sync_to_async(stored)()
    return {**outside(server), **found, **told}, objects


def slope(points):
    """The slope of the straight line through points (x, y) by least squares; 0 for
    fewer than two."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _y in points) / len(points)
    mean_y = sum(y for _x, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _y in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / (spread or 1)
