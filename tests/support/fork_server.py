"""Servers that start in a third of the time: `python -m tests.support.fork_server`.

It has loaded the libraries that a server takes, none of ours and no settings, and forks
a process for each order, which then runs `manage.py` as any other start does. Orders
come over its standard input: two descriptors, a line to its client and a log.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NUMBER = struct.Struct("!i")
LIBRARIES = (
    "argon2",
    "autobahn.twisted.websocket",
    "channels.db",
    "channels.layers",
    "channels.routing",
    "channels_redis.pubsub",
    "csp.middleware",
    "cryptography.fernet",
    "django.contrib.auth.hashers",
    "django.contrib.staticfiles.finders",
    "django.core.asgi",
    "django.core.management.commands.migrate",
    "django.db.backends.postgresql.base",
    "django.forms",
    "django.template.backends.django",
    "django.urls",
    "django.views.generic",
    "environ",
    "fido2.server",
    "prometheus_client",
    "psycopg_pool",
    "twisted.internet.asyncioreactor",
    "twisted.internet.endpoints",
    "twisted.web.http",
    "uvloop",
    "whitenoise.base",
)


class ForkServer:
    """The client's end."""

    def __init__(self):
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.support.fork_server"]
        bare = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
        with theirs:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=bare, stdin=theirs, process_group=0
            )

    def start(self, words, environment, log):
        """`manage.py *words`, printing to the file `log`: a Forked."""
        line, theirs = socket.socketpair()
        with theirs:
            descriptors = [theirs.fileno(), log.fileno()]
            socket.send_fds(self._control, [b"f"], descriptors)
        order = json.dumps([words, environment]).encode()
        line.sendall(NUMBER.pack(len(order)) + order)
        return Forked(line)

    def close(self):
        self._control.close()
        self._process.wait()


class Forked:
    """To a forked process, what subprocess.Popen is to one of one's own."""

    def __init__(self, line):
        self._line = line
        self.pid = read_number(line)
        self.returncode = None

    def poll(self):
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = read_number(self._line)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("manage.py", timeout) from None
            self._line.close()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def read_number(line):
    return NUMBER.unpack(line.recv(NUMBER.size))[0]


def main():
    for name in LIBRARIES:
        importlib.import_module(name)
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    while True:
        asked, descriptors, _flags, _address = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        if os.fork() == 0:
            control.close()
            return keep_company(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def keep_company(line, log):
    """Fork a process for the order; returns in it. Here, tell how it fares."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line = socket.socket(fileno=line)
    order = line.recv(read_number(line), socket.MSG_WAITALL)
    pid = os.fork()
    if pid == 0:
        line.close()
        return become(log, *json.loads(order))
    os.close(log)
    line.sendall(NUMBER.pack(pid))
    _pid, status = os.waitpid(pid, 0)
    with suppress(OSError):  # nobody wants to know
        line.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def become(log, words, environment):
    """Be as if started by subprocess.Popen."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["manage.py", *words]
    sys.stdout = open(1, "w", buffering=1)  # noqa: SIM115  as by `python -u`
    sys.stderr = open(2, "w", buffering=1)  # noqa: SIM115
    return True


if __name__ == "__main__" and main():
    runpy.run_path("manage.py", run_name="__main__")
