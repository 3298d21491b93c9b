"""The socket side's only way to the database: a few threads of its own.

Neither the event loop nor asgiref's one shared thread ever waits for PostgreSQL, so a
slow statement delays nobody but who asked for it. A thread keeps its connection from
job to job: giving it back to the pool, with the check and set-up that follow, took a
quarter of a transaction's time. A line that breaks costs one job, of unknown fate.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from django.db import InterfaceError, OperationalError, connections
from django.utils import translation

from messaging import metrics

THREADS = 6  # of the pool's connections; the others are for pages
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


async def in_database(function, *args):
    """Run `function(*args)` in a database thread; its result, or its exception."""
    loop = asyncio.get_running_loop()
    language = translation.get_language()  # of who asks; it stays in its thread
    asked = time.monotonic()
    return await loop.run_in_executor(_threads, _work, asked, language, function, *args)


def _work(asked, language, function, *args):
    metrics.DATABASE_WAIT.observe(time.monotonic() - asked)
    try:
        with translation.override(language, deactivate=True):
            return function(*args)
    except (InterfaceError, OperationalError):
        connections.close_all()  # the next job begins with a fresh one
        raise
