"""Fixtures of machinery: databases, servers, a browser. People and rooms are in
`support/fixtures.py`."""

import os
import shutil
import signal
import sys
from functools import partial

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from hypothesis import settings as hypothesis
from playwright.sync_api import sync_playwright

from config import embedded
from config.server import static
from tests.support.deployment import Deployment, new_folder, nginx_program
from tests.support.fork_server import ForkServer
from tests.support.servers import (
    IS_BARE,
    ForkedRollcall,
    Postgres,
    Redis,
    redis_program,
)

pytest_plugins = ["tests.support.fixtures"]

IN_CI = os.environ.get("CI") == "true"
hypothesis.register_profile("rollcall", deadline=None, derandomize=IN_CI)
hypothesis.load_profile("rollcall")
# An ordinary end, so that no PostgreSQL is left behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
# What a shell starts in the background ignores Ctrl-C, and so do the children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Programs that may be missing -----------------------------------------------------

PACKAGES = {  # of Debian, by program
    "chromium": "chromium",
    "envsubst": "gettext-base",
    "nginx": "nginx",
    "redis-server": "redis-server",
    "systemd-analyze": "systemd",
}
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FINDERS = {
    "chromium": lambda: next(filter(None, map(shutil.which, CHROMIUMS)), None),
    "nginx": nginx_program,
    "redis-server": redis_program,
}
missing = pytest.StashKey[set]()


def pytest_configure():
    if IS_BARE and (found := [name for name in PACKAGES if shutil.which(name)]):
        raise pytest.UsageError(f"BARE_MACHINE=true, but PATH has {', '.join(found)}")


@pytest.fixture(scope="session")
def find_program(pytestconfig):
    """The path of a program, by a name of PACKAGES. Where it is missing, the test is
    left out, which is said in the end; in CI it fails, but for the bare run."""

    def find(name):
        found = FINDERS.get(name, lambda: shutil.which(name))()
        if not found:
            leave_out(pytestconfig, name)
        return found

    return find


def leave_out(config, program):
    config.stash.setdefault(missing, set()).add(program)
    if IN_CI and not IS_BARE:
        pytest.fail(f"{program} is missing: {remedy(program)}")
    pytest.skip(f"{program} is missing")


def remedy(program):
    return f"apt-get install {PACKAGES[program]}"


def pytest_terminal_summary(terminalreporter, config):
    for program in sorted(config.stash.get(missing, ())):
        terminalreporter.section("left out", yellow=True)
        terminalreporter.line(
            f"All that takes {program} was left out: {remedy(program)}"
        )


# Pages ----------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def static_files():
    """Templates name static files by their hashes, which are known when collected."""
    static.collect()


# Databases ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_modify_db_settings():
    """Before the test database is made: nothing here has to outlive a power cut."""
    embedded.use(settings.VAR_DIR)
    host = connection.settings_dict["HOST"]
    with psycopg.connect(host=host, user="postgres", autocommit=True) as superuser:
        superuser.execute("ALTER SYSTEM SET fsync = off")
        superuser.execute("SELECT pg_reload_conf()")


def database_url():
    """Of the test database, for other processes."""
    server = connection.settings_dict
    return f"postgres://{server['USER']}@/{server['NAME']}?host={server['HOST']}"


@pytest.fixture
def postgres(transactional_db):
    """The PostgreSQL of all tests, to .pause() and .resume()."""
    return Postgres(settings.VAR_DIR)


# Servers --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def fork_server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def new_server(fork_server):
    """What makes a server. Override it with Rollcall where the start matters."""
    return partial(ForkedRollcall, fork_server)


@pytest.fixture
def serve(transactional_db, tmp_path, new_server):
    """serve(*options, REDIS_URL=…): a ready Rollcall on the test database."""
    servers = []

    def serve(*options, **environment):
        own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
        servers.append(new_server(tmp_path, *options, **own | environment))
        return servers[-1].start()

    yield serve
    for server in servers:
        if server.is_running:
            server.stop()


@pytest.fixture
def pair(serve, redis_server):
    """Two server processes that share PostgreSQL and Redis."""
    return [serve(REDIS_URL=redis_server.url) for _nth in range(2)]


@pytest.fixture(scope="session")
def redis_process(find_program, tmp_path_factory):
    redis = Redis(find_program("redis-server"), tmp_path_factory.mktemp("redis"))
    yield redis.start()
    redis.kill()


@pytest.fixture
def redis_server(redis_process):
    """A real Redis, running and empty: .url, .client, .kill(), .start(), .pause() …"""
    redis_process.resume()
    if not redis_process.is_running:
        redis_process.start()
    redis_process.client.flushall()
    return redis_process


# The deployed system --------------------------------------------------------------


@pytest.fixture(scope="session")
def deployable(find_program):
    """For all that starts a Deployment: its programs are here."""
    find_program("nginx")
    find_program("redis-server")


@pytest.fixture(scope="session")
def deployed(deployable):
    """Nginx, 3 Daphnes, Redis and PostgreSQL, running. Put right what you break."""
    deployment = Deployment(new_folder())
    yield deployment.start()
    deployment.stop()


@pytest.fixture
def deploy(deployable):
    """deploy(tls=True, …): a deployment of one's own, with Deployment's arguments."""
    deployments = []

    def deploy(kind=Deployment, **options):
        deployments.append(kind(new_folder(), **options))
        return deployments[-1].start()

    yield deploy
    for deployment in deployments:
        deployment.stop()


# A browser ------------------------------------------------------------------------

CALM = ("gpu", "quic", "background-networking", "component-update", "sync")


@pytest.fixture(scope="session")
def chromium(find_program):
    """The path of a Chromium."""
    return find_program("chromium")


@pytest.fixture(scope="module")
def browser(chromium):
    """A Playwright browser. A module that uses it can have no async tests: Playwright
    keeps an event loop running in the tests' thread, which Django has to overlook.
    """
    options = ["--no-first-run", *(f"--disable-{feature}" for feature in CALM)]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield playwright.chromium.launch(executable_path=chromium, args=options)
