"""The socket side's only way to the database: a few threads of its own.

Neither the event loop nor asgiref's one shared thread ever waits for PostgreSQL, so a
slow statement delays nobody but who asked for it. A thread keeps its connection from
job to job: giving it back to the pool, with the check and set-up that follow, took a
quarter of a transaction's time. A connection that breaks costs one job, whose outcome
is unknown.
"""

import asyncio
import logging
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
)
from django.utils import translation

from messaging import metrics

logger = logging.getLogger(__name__)

THREADS = 6  # of the pool's connections; the others are for pages
# The connection is gone, whoever ended it. (InternalError: PostgreSQL, because this
# process stood still in the middle of a transaction.)
LOST = InterfaceError, InternalError, OperationalError
# PostgreSQL ends every statement after 3 s. One that is still at it now waits for an
# answer that was lost on the way.
HUNG_AFTER = 8.0  # seconds
LAST_WITHIN = 5.0  # seconds, for the last job of a process
_asked = {}  # {the connection of a thread at work: when its last statement began}
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")
_heart = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")


async def run_in_database(function, *args):
    """Run `function(*args)` in a database thread; its result, or its exception."""
    return await _run(_threads, function, *args)


async def run_heartbeat_in_database(function, *args):
    """As `run_in_database`, in a thread that nothing else ever keeps waiting."""
    return await _run(_heart, function, *args)


def run_last_in_database(function, *args):
    """As `run_in_database`, when the event loop has ended (sync). Raises TimeoutError
    where PostgreSQL is silent; then no thread waits for it any more."""
    last = _heart.submit(_work, time.monotonic(), None, function, *args)
    try:
        return last.result(LAST_WITHIN)
    except (TimeoutError, *LOST):
        for threads in (_threads, _heart):
            threads.shutdown(wait=False, cancel_futures=True)
        _cut_older_than(0)
        raise


async def _run(threads, function, *args):
    loop = asyncio.get_running_loop()
    language = translation.get_language()  # of who asks; it stays in its thread
    asked = time.monotonic()
    return await loop.run_in_executor(threads, _work, asked, language, function, *args)


def _work(asked, language, function, *args):
    metrics.DATABASE_WAIT.observe(time.monotonic() - asked)
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        speaking = translation.override(language, deactivate=True)
        with speaking, connection.execute_wrapper(_note):
            return function(*args)
    except LOST:
        connections.close_all()  # the next job begins with a fresh one
        raise
    finally:
        _asked.pop(connection, None)


def _note(execute, sql, params, many, context):
    _asked[context["connection"]] = time.monotonic()
    return execute(sql, params, many, context)


async def cut_hung_connections() -> None:
    """For ever: a thread that waits for a silent database gets an error instead."""
    while True:
        await asyncio.sleep(1)
        _cut_older_than(HUNG_AFTER)


def _cut_older_than(seconds) -> None:
    for connection, since in list(_asked.items()):
        if time.monotonic() - since > seconds and connection.connection:
            _cut(connection.connection)


def _cut(connection) -> None:
    """Shut down the socket under a connection that another thread waits on."""
    logger.warning("PostgreSQL has gone silent; connecting again")
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as under:
            under.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        pass  # it has ended by itself
