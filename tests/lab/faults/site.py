"""The deployed system of the fault bench: behind lines that can be hurt, and with
handles on all that can be killed."""

import asyncio
import time
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import psutil
import psycopg
import redis

from tests.lab.faults import final, provision
from tests.lab.faults.disk import Disk
from tests.lab.faults.proxy import Proxies
from tests.support.deployment import Deployment
from tests.support.servers import own_environment

DAPHNES = 3
STORES = ("postgres", "redis")
CROWD_LINES = [f"crowd-{number}" for number in range(4)]
BACK_WITHIN, RESTART_AFTER = 60, 1  # seconds
SQL_WITHIN = 5  # seconds to connect
CLIENTS_OF = """
    SELECT DISTINCT username FROM rooms_visit
    JOIN rooms_node AS node ON node.id = node_id
    JOIN accounts_user ON accounts_user.id = user_id
    WHERE closed_at IS NULL AND node.name LIKE %s
"""
OPEN_VISITS = """
    SELECT room.slug, person.username, count(*) FROM rooms_visit
    JOIN rooms_room AS room ON room.id = room_id
    JOIN accounts_user AS person ON person.id = user_id
    WHERE closed_at IS NULL GROUP BY room.slug, person.username
"""
SESSIONS = """
    SELECT count(*) FROM pg_stat_activity WHERE usename = 'rollcall'
"""
TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class HurtDeployment(Deployment):
    """Each Daphne reaches both stores by lines of its own."""

    def __init__(self, folder, lines):
        self.lines = lines
        super().__init__(folder, DAPHNES)

    def environment_of(self, nth):
        postgres = self.lines.add(f"postgres-{nth}", at(self.postgres.port))
        redis = self.lines.add(f"redis-{nth}", at(self.redis.port))
        return {
            "DATABASE_URL": moved(self.postgres.url, postgres),
            "REDIS_URL": moved(self.redis.url, redis),
            # Who comes back at once is refused; the crowd does not run dry of people.
            "KICK_SECONDS": "3",
        }


class Site:
    """The deployment, and how each of its parts is hurt."""

    def __init__(self, folder, seed, history, *, backup_age, gigabytes):
        self.folder = Path(folder)
        self.history = history
        self.lines = Proxies(seed)
        self.deployment = HurtDeployment(self.folder, self.lines)
        self.postgres = self.deployment.postgres
        self.redis = self.deployment.redis
        self.nginx = self.deployment.nginx
        self.daphnes = self.deployment.daphnes
        self.origin = self.deployment.url
        self.ws_origin = self.deployment.ws_url
        self.scheme = urlsplit(self.origin).scheme
        self.host = urlsplit(self.origin).netloc
        self.disk = Disk.mounted(self.folder / "disk", gigabytes)
        self.has = {"a disk"} if self.disk else set()  # what some operations need
        if "backup" in self.deployment.manage("help", "--commands").split():
            self.has.add("a backup")
        self.backups = 0
        self.backup_age = backup_age  # seconds, at least, when it is restored

    def start(self, people_lines, rooms):
        """Start all; `people_lines` is {name: whether it is narrow}, `rooms` {slug:
        [names]}."""
        if self.disk:
            self.disk.put_data(self.postgres.data)
        self.deployment.start()
        self.ports = {
            name: self.lines.add(name, at(self.nginx.port), is_narrow)
            for name, is_narrow in people_lines.items()
        }
        self.environment = own_environment(**self.deployment.environment)
        made = provision.make(self.environment, rooms)
        self.people = made["people"]
        self.slugs = {pk: slug for slug, pk in made["rooms"].items()}
        self.cookie, self.csrf_cookie = made["cookie"], made["csrf_cookie"]

    def complain(self, what):
        """Have the history tell what should not have been."""
        self.history.tell("log", process="site", line=f"CRITICAL {what}"[:500])

    def stop(self):
        try:
            self.deployment.stop()
        except RuntimeError as error:
            self.complain(error)
        finally:
            self.lines.close()
            if self.disk:
                self.disk.unmount()

    def bring_back(self, process):
        """Start a process, as systemd would: again, until it can."""
        give_up_at = time.monotonic() + BACK_WITHIN
        while True:
            try:
                if not process.is_running:
                    process.launch()
                return process.wait_until_ready()
            except (RuntimeError, TimeoutError, psycopg.OperationalError):
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(RESTART_AFTER)

    def revive(self):
        """Whatever does not run is started again, and all lines are mended."""
        self.heal_all_lines()
        for process in self.processes.values():
            process.resume()
            self.bring_back(process)

    # PostgreSQL -------------------------------------------------------------------

    def sql(self, autocommit=True):
        """A connection of our own, which no line can hurt."""
        url = self.postgres.url_as("postgres")
        return psycopg.connect(url, connect_timeout=SQL_WITHIN, autocommit=autocommit)

    def ask(self, query, *values):
        with self.sql() as line:
            return line.execute(query, values).fetchall()

    def terminate_sessions(self):
        with suppress(psycopg.OperationalError):
            self.ask(TERMINATE)

    def clients_of(self, daphne):
        """The names of the people whose sockets that process holds."""
        with suppress(psycopg.Error):
            return [name for (name,) in self.ask(CLIENTS_OF, f"%:{daphne.process.pid}")]
        return []

    def look_for_ghosts(self):
        """Complain of visits that no socket holds, and of sockets without one."""
        stored = Counter({(room, name): n for room, name, n in self.ask(OPEN_VISITS)})
        held = self.crowd.sockets()
        for (room, name), n in (stored - held).items():
            self.complain(f"{n} visits of {name} to {room} have no socket")
        for (room, name), n in (held - stored).items():
            self.complain(f"{n} sockets of {name} to {room} have no visit")

    # Redis, Nginx and the lines ---------------------------------------------------

    def flush_redis(self):
        with suppress(redis.RedisError):
            self.redis.client.flushall()

    @contextmanager
    def weather(self, line, **weather):
        """On a line of people, or on all Daphnes' lines to a store."""
        stores = [f"{line}-{number}" for number in range(DAPHNES)]
        names = [line] if line in self.ports else stores
        for name in names:
            self.lines.change(name, **weather)
        try:
            yield
        finally:
            for name in names:
                self.lines.heal(name)

    def break_all_lines(self):
        for name in self.ports:
            self.lines.reset(name)

    def heal_all_lines(self):
        stores = [f"{one}-{nth}" for one in STORES for nth in range(DAPHNES)]
        for name in [*self.ports, *stores]:
            self.lines.heal(name)

    def pick_daphne(self, rng):
        return rng.choice(list(enumerate(self.daphnes)))

    # What needs the people's help -------------------------------------------------

    @contextmanager
    def _in_loop(self, begin, end, *args):
        """Call `begin(*args)` in the loop of the people, and `end` with its result."""
        ask = partial(asyncio.run_coroutine_threadsafe, loop=self.loop)
        begun = ask(_call(begin, *args)).result()
        try:
            yield
        finally:
            ask(_call(end, begun)).result()

    def twins(self, rng):
        return self._in_loop(self.crowd.open_twins, self.crowd.close_twins, rng)

    def frozen_tabs(self, rng):
        return self._in_loop(self.crowd.freeze, self.crowd.thaw, rng)

    # Backups ----------------------------------------------------------------------

    def backup(self):
        """Make a backup of this moment; its name."""
        self.backups += 1
        name = f"backup-{self.backups}"
        path = self.folder / name
        self.deployment.manage("backup", path)
        self.history.tell("backup", name=name, **self._held_by(path))
        return name

    def restore(self, name):
        final.tell_dump(self, self.crowd, self.history, "restore")
        path = self.folder / name
        self.history.tell("restore", name=name, **self._held_by(path))
        self.deployment.manage("restore", path, "--yes")
        ((epoch,),) = self.ask("SELECT epoch FROM rooms_installation")
        self.history.tell("restored", name=name, epoch=epoch)

    def _held_by(self, path):
        """The epoch and the heads of a backup."""
        with ZipFile(path) as archive:
            ((_id, epoch, *_),) = rows_of(archive, "rooms_installation")
            heads = rows_of(archive, "rooms_head")
        slugs = self.slugs
        return {
            "epoch": epoch,
            "heads": {slugs[int(room)]: int(seq) for room, seq, *_ in heads},
        }

    # Samples ----------------------------------------------------------------------

    @property
    def processes(self):
        """By name."""
        daphnes = {f"daphne-{nth}": one for nth, one in enumerate(self.daphnes)}
        stores = {"postgres": self.postgres, "redis": self.redis}
        return {**stores, **daphnes, "nginx": self.nginx}

    def sample(self):
        """Tell the history what each process holds of the machine."""
        sessions = {"postgres": self._sessions, "redis": self._redis_clients}
        for name, process in self.processes.items():
            with suppress(psutil.Error, psycopg.Error, redis.RedisError):
                held = held_by(process.process.pid)
                if name in sessions:
                    held["sessions"] = sessions[name]()
                self.history.tell("sample", process=name, **held)

    def _sessions(self):
        return self.ask(SESSIONS)[0][0]

    def _redis_clients(self):
        return self.redis.client.info("clients")["connected_clients"] - 1


def rows_of(archive, table):
    """The rows of a table in a backup, each a list of texts in the order of the columns
    that the models have."""
    return [
        row.split("\t") for row in archive.read(f"tables/{table}").decode().splitlines()
    ]


def held_by(pid):
    process = psutil.Process(pid)
    with process.oneshot():
        return {
            "pid": pid,
            "rss": process.memory_info().rss,
            "fds": process.num_fds(),
            "threads": process.num_threads(),
        }


async def _call(function, *args):
    return function(*args)


def at(port):
    return ("127.0.0.1", port)


def moved(url, port):
    """The same address, by another port."""
    return url.replace(f":{urlsplit(url).port}", f":{port}")
