"""The nemesis: every way in which the deployed system is hurt, and healed again.

An operation is a generator: what comes before its `yield` hurts, what comes after
heals. It yields what the history should know of it, and what hurts at a stroke as `do`.
Each runs in a thread of its own, two of them at once when they come as a pair.
"""

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psycopg

from tests.lab.faults.site import CROWD_LINES

DRAIN_WITHIN = 35  # seconds after SIGTERM; the promise is 30
LOCK_SOME = """
    SELECT FROM rooms_head WHERE room_id %% 2 = %s ORDER BY room_id FOR UPDATE
"""
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Operation:
    """One way to hurt; `seconds` is the shortest and the longest time until it heals.

    `touches` names what it takes away: two operations that touch the same thing cannot
    come as a pair. With `weight` it comes less often among the random pairs.
    """

    name: str
    what: str
    hurt: Callable
    seconds: tuple[float, float]
    touches: frozenset
    weight: float
    needs: str | None

    def goes_with(self, other):
        return not self.touches & other.touches


OPERATIONS: dict[str, Operation] = {}


def operation(name, what, seconds, touches=(), weight=1.0, needs=None):
    def register(function):
        OPERATIONS[name] = Operation(
            name,
            what,
            contextmanager(function),
            seconds,
            frozenset(touches),
            weight,
            needs,
        )
        return function

    return register


# Daphne ---------------------------------------------------------------------------


@operation("N1", "kill -9 of one Daphne", (2, 6), {"a daphne"})
def kill_one(site, rng):
    index, daphne = site.pick_daphne(rng)
    yield {"daphne": index, "clients": site.clients_of(daphne), "do": daphne.kill}
    site.bring_back(daphne)


@operation("N2", "SIGTERM to one Daphne, which drains", (1, 3), {"a daphne"})
def drain_one(site, rng):
    index, daphne = site.pick_daphne(rng)

    def stop():
        daphne.process.terminate()
        try:
            daphne.process.wait(timeout=DRAIN_WITHIN)
        except subprocess.TimeoutExpired:  # as systemd does it
            site.complain(f"daphne-{index} took too long to shut down")
            daphne.kill()

    yield {"daphne": index, "clients": site.clients_of(daphne), "do": stop}
    site.bring_back(daphne)


def freeze_one(site, rng):
    index, daphne = site.pick_daphne(rng)
    yield {"daphne": index, "clients": site.clients_of(daphne), "do": daphne.pause}
    daphne.resume()


for _name, _seconds, _weight in [("N3", 3, 1.0), ("N3b", 12, 1.0), ("N3c", 40, 0.1)]:
    operation(
        _name,
        f"SIGSTOP of one Daphne for {_seconds} s",
        (_seconds, _seconds),
        {"a daphne"},
        _weight,
    )(freeze_one)


@operation("N4", "kill -9 of all Daphnes", (2, 5), {"a daphne"})
def kill_all(site, rng):
    def kill():
        for daphne in site.daphnes:
            daphne.kill()

    yield {"do": kill}
    for daphne in site.daphnes:
        daphne.launch()
    for daphne in site.daphnes:
        site.bring_back(daphne)


# PostgreSQL -----------------------------------------------------------------------


@operation("N5", "kill -9 of PostgreSQL", (2, 6), {"postgres"})
def kill_postgres(site, rng):
    yield {"do": site.postgres.kill}
    site.bring_back(site.postgres)


@operation("N6", "fast restart of PostgreSQL", (0, 1), {"postgres"})
def restart_postgres(site, rng):
    yield {"do": site.postgres.stop}
    site.bring_back(site.postgres)


@operation("N7", "pg_terminate_backend of all sessions", (0, 2), {"postgres lines"})
def terminate_sessions(site, rng):
    yield {"do": site.terminate_sessions}


@operation("N8", "blackhole before PostgreSQL", (5, 10), {"postgres lines"}, 0.5)
def blackhole_postgres(site, rng):
    with site.weather("postgres", mode="drop"):
        yield {}


@operation("N9", "PostgreSQL's answers to COMMIT are lost", (2, 6), {"postgres lines"})
def lose_commits(site, rng):
    with site.weather("postgres", mode="cut commits"):
        yield {}


@operation("N10", "a foreign lock on rooms' head rows", (3, 5), {"postgres"})
def hold_locks(site, rng):
    with site.sql(autocommit=False) as line:
        yield {"do": lambda: line.execute(LOCK_SOME, [rng.randrange(2)])}
        with suppress(psycopg.OperationalError):
            line.rollback()


@operation("N21", "the disk of PostgreSQL is full", (4, 8), {"postgres"}, 0.5, "a disk")
def fill_disk(site, rng):
    yield {"do": site.disk.fill}
    site.disk.free()
    if not site.postgres.is_running:
        site.bring_back(site.postgres)


@operation(
    "N23", "restore of a backup", (1, 2), {"postgres", "a daphne"}, 0.1, "a backup"
)
def restore(site, rng):
    backup = site.backup()
    time.sleep(site.backup_age)
    yield {"do": lambda: site.restore(backup)}


@operation("N25", "all of PostgreSQL's connections are taken", (2, 5), {"postgres"})
def exhaust_connections(site, rng):
    with ExitStack() as taken:

        def take():
            with suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(site.sql())

        yield {"do": take}


# Redis ----------------------------------------------------------------------------


@operation("N11", "kill -9 of Redis, which comes back empty", (2, 6), {"redis"})
def kill_redis(site, rng):
    yield {"do": site.redis.kill}
    site.bring_back(site.redis)


@operation("N12", "SIGSTOP of Redis", (3, 8), {"redis"})
def freeze_redis(site, rng):
    yield {"do": site.redis.pause}
    site.redis.resume()


@operation("N13", "half-open connections to Redis", (3, 8), {"redis lines"})
def half_open_redis(site, rng):
    with site.weather("redis", mode="half-open", direction=rng.choice(["up", "down"])):
        yield {}


@operation("N14", "CLIENT KILL of Redis's subscribers", (1, 4), {"redis"})
def kill_subscribers(site, rng):
    yield {"do": lambda: site.redis.client.execute_command("CLIENT KILL TYPE pubsub")}


@operation("N15", "FLUSHALL", (0, 2))
def flush_redis(site, rng):
    yield {"do": site.flush_redis}


@operation("N16", "Redis has no memory left", (2, 6), {"redis"})
def starve_redis(site, rng):
    yield {"do": lambda: site.redis.client.config_set("maxmemory", MEGABYTE)}
    site.redis.client.config_set("maxmemory", 0)


def hurt_hints(mode):
    def hurt(site, rng):
        with site.weather("redis", mode=mode):
            yield {}

    return hurt


for _name, _mode in [
    ("N24", "lose hints"),
    ("N24b", "double hints"),
    ("N24c", "shuffle hints"),
]:
    operation(_name, f"Redis's connection: {_mode}", (3, 8), {"redis lines"}, 0.5)(
        hurt_hints(_mode)
    )


# Nginx and the network ------------------------------------------------------------


@operation("N17", "ten reloads of Nginx", (0, 2), {"nginx"})
def reload_nginx(site, rng):
    def reload():
        for _nth in range(10):
            site.nginx.reload()
            time.sleep(0.2)

    yield {"do": reload}


@operation("N18", "kill -9 of Nginx", (1, 4), {"nginx"})
def kill_nginx(site, rng):
    yield {"do": site.nginx.kill}
    site.bring_back(site.nginx)


@operation(
    "N26",
    "slow connections to PostgreSQL and Redis",
    (3, 8),
    {"postgres lines", "redis lines"},
)
def slow_lines(site, rng):
    with (
        site.weather("postgres", mode="delay", delay=0.02, jitter=0.02),
        site.weather("redis", mode="delay", delay=0.2, jitter=0.2),
    ):
        yield {}


def hurt_clients(**weather):
    def hurt(site, rng):
        with site.weather(rng.choice(CROWD_LINES), **weather):
            yield {}

    return hurt


for _name, _what, _weather in [
    (
        "N19",
        "clients' connections are cut in the middle of a frame",
        {"mode": "cut", "after": 5000},
    ),
    ("N19b", "clients hear nothing", {"mode": "half-open", "direction": "down"}),
    ("N19c", "clients are not heard", {"mode": "half-open", "direction": "up"}),
    ("N19d", "clients' connections take 1 KB/s", {"mode": "throttle", "rate": 1024.0}),
]:
    operation(_name, _what, (3, 8), {"clients"}, 0.5)(hurt_clients(**_weather))


@operation("N19e", "second tabs are opened", (4, 8), weight=0.5)
def open_twins(site, rng):
    with site.twins(rng):
        yield {}


@operation("N19f", "tabs freeze", (5, 15), weight=0.5)
def freeze_tabs(site, rng):
    with site.frozen_tabs(rng):
        yield {}


@operation("N20", "all clients' connections break at once", (0, 1), {"clients"})
def break_all(site, rng):
    yield {"do": site.break_all_lines}
