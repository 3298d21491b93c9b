"""PostgreSQL out of a wheel, for a machine that has none.

All processes with the same `var/` share one server, over a socket that only they can
reach. Each holds a shared lock on `var/postgres.users`; one that gets it exclusively
when it leaves was the last, and stops the server. The kernel drops the locks of the
killed, so an orphaned server is stopped by its next user.
"""

import atexit
import fcntl
import os
import secrets
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from config.embedded import cluster, places


def database(var):
    """The entry of Django's DATABASES. Connecting to it starts the server."""
    places.check_owner(var)
    return {
        "ENGINE": "config.embedded",
        "NAME": cluster.NAME,
        "USER": cluster.NAME,
        "HOST": str(places.socket_folder(var)),
    }


@cache
def use(var):
    """Start the server unless it runs, and leave it when this process exits."""
    with door(var):
        places.check(var)
        users = (var / "postgres.users").open("a")
        fcntl.flock(users, fcntl.LOCK_SH)
        if not cluster.is_up(var):
            cluster.start(var)
    atexit.register(leave, var, users)


def leave(var, users):
    """Stop the server if nobody else uses it."""
    with door(var), suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        cluster.stop(var)


@contextmanager
def door(var):
    """Only one process at a time comes in or leaves."""
    with (var / "postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def secret_key(var):
    """The key in `var/secret_key`, made up at the first start."""
    path = var / "secret_key"
    if not path.exists():
        # A link appears whole or not at all, and the first of two processes wins.
        handle, draft = tempfile.mkstemp(dir=var)  # mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(48))
        with suppress(FileExistsError):
            os.link(draft, path)
        Path(draft).unlink()
    return path.read_text()
