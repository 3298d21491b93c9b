"""The socket side's only way to the database: a few threads of its own.

Neither the event loop nor asgiref's one shared thread ever waits for PostgreSQL, so a
slow statement delays nobody but who asked for it. Every job returns its connection to
Django's pool.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from django.db import connections

THREADS = 6  # of the pool's connections; the others are for pages
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


async def in_database(function, *args):
    """Run `function(*args)` in a database thread; its result, or its exception."""
    # The context carries the language in which the person is answered.
    job = copy_context().run
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, job, _with_connection, function, *args)


def _with_connection(function, *args):
    try:
        return function(*args)
    finally:
        connections.close_all()
