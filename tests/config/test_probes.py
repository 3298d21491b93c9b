"""What a prober is told: of a server that lives, can serve, or has something amiss."""

import asyncio
import os
import re
import signal
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from config.server.probes import is_local, process_troubles
from tests.support.monitoring import readyz, wait_until_ready
from tests.support.room_client import RoomClient, sign_in
from tests.support.servers import Postgres, Rollcall, var_dir, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(serve, redis_server):
    server = serve(REDIS_URL=redis_server.url)
    wait_until_ready(server)
    return server


def test_a_healthy_server_is_ready_and_gives_no_cookie(server):
    for path, content in {
        "/healthz": {"status": "alive"},
        "/readyz": {"status": "ready", "problems": {}},
    }.items():
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200
        assert answer.json() == content
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers


def test_a_prober_of_a_public_site_needs_neither_its_host_nor_https(serve, tmp_path):
    path = tmp_path / "rollcall.sock"
    public = {"PUBLIC_URL": "https://chat.example.org", "TRUST_PROXY": "true"}
    serve("--unix-socket", path, **public)
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://localhost") as prober:
        assert prober.get("/accounts/login/").status_code == 400  # no such host
        wait_until(lambda: prober.get("/readyz").status_code == 200)
        assert prober.get("/healthz").json() == {"status": "alive"}
        assert prober.get("/readyz", headers={"Host": "10.0.0.1"}).status_code == 200
        assert prober.get("/metrics").status_code == 200


# What can be amiss ----------------------------------------------------------------


def test_without_redis_a_server_is_slower_and_still_ready(server, redis_server):
    redis_server.kill()
    status, answer = wait_until(lambda: degraded(server))
    assert status == 200
    assert answer["problems"].keys() == {"redis"}
    redis_server.start()
    wait_until_ready(server)


def degraded(server):
    status, answer = readyz(server)
    return answer["status"] == "degraded" and (status, answer)


def test_with_a_redis_that_hangs_a_server_is_still_ready(server, redis_server):
    redis_server.pause()
    try:
        wait_until(lambda: degraded(server))
    finally:
        redis_server.resume()
    wait_until_ready(server)


def test_while_postgresql_hangs_a_server_lives_and_is_not_ready(server, postgres):
    postgres.pause()
    try:
        time.sleep(1.1)  # what was found before is good for a second
        assert fastest(server, "/readyz", 503, NO_DATABASE) < 2
        assert fastest(server, "/healthz", 200) < 1
        assert fastest(server, "/metrics", 200) < 1
    finally:
        postgres.resume()
    wait_until_ready(server)


def fastest(server, path, status, content=None):
    """The seconds of the fastest of three answers, which are all as told: what the
    machine does besides delays one or the other, what the server does all."""
    answers = [httpx.get(server.url + path, timeout=5) for _nth in range(3)]
    assert {answer.status_code for answer in answers} == {status}
    assert content is None or all(answer.json() == content for answer in answers)
    return min(answer.elapsed.total_seconds() for answer in answers)


NO_DATABASE = {
    "status": "not ready",
    "problems": {"database": "PostgreSQL does not answer."},
}


@pytest.fixture
def alone(tmp_path):
    """A server and its own PostgreSQL, whom nobody else would miss."""
    var = Path(tempfile.mkdtemp(dir=var_dir()))
    var.chmod(0o711)  # for PostgreSQL's account to pass through
    server = Rollcall(tmp_path, VAR_DIR=var).start()
    wait_until_ready(server)
    yield server, Postgres(var)
    server.stop()


def test_while_postgresql_is_gone_a_server_lives_and_is_not_ready(alone):
    server, postgres = alone
    postgres.stop()
    try:
        time.sleep(1.1)
        assert readyz(server) == (503, NO_DATABASE)
        assert httpx.get(f"{server.url}/healthz").status_code == 200
    finally:
        postgres.start()
    wait_until_ready(server)


def test_while_postgresql_is_gone_pages_say_so_and_the_log_in_a_line(alone):
    server, postgres = alone
    postgres.stop()
    try:
        page = httpx.get(f"{server.url}/", timeout=20)
        assert page.status_code == 503
        assert page.headers["Retry-After"] == "5"
        assert "Nothing is lost" in page.text
    finally:
        postgres.start()
    wait_until_ready(server)
    assert httpx.get(f"{server.url}/", follow_redirects=True).is_success
    assert "WARNING django.request: Service Unavailable: /: " in server.log
    assert "ERROR" not in server.log


def test_a_database_without_our_migrations_is_told(server):
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("messaging", "0001_initial")
    try:
        time.sleep(1.1)
        status, answer = readyz(server)
        assert status == 503
        assert answer["problems"] == {
            "migrations": "Run manage.py migrate: 1 not applied."
        }
    finally:
        recorder.record_applied("messaging", "0001_initial")
    wait_until_ready(server)


def test_a_server_whose_loop_stood_still_says_so_for_a_while(server):
    server.pause()
    time.sleep(1.6)
    server.resume()
    status, answer = wait_until(lambda: stood_still(server), seconds=3)
    assert status == 503
    assert answer["problems"].keys() == {"event_loop"}
    wait_until_ready(server)


@pytest.fixture
def page(server, room, bob):
    """page(): a RoomClient of bob's."""

    async def page():
        return RoomClient(server, room, await sign_in(bob))

    return page


async def test_a_server_that_writes_nothing_is_not_ready(server, page):
    """The lines of its threads are open, and no answer ever comes."""
    async with await page() as two:
        await two.say("before")
        silent = await sync_to_async(backends)()
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        try:
            await two.post("unheard")
            problems = await asyncio.to_thread(wait_until, lambda: unwritten(server))
            assert re.fullmatch(r"A post has waited for \d+ s\.", problems["writer"])
        finally:
            for pid in silent:
                os.kill(pid, signal.SIGCONT)
        await asyncio.to_thread(wait_until_ready, server)


def backends():
    """The pids of the processes of PostgreSQL that serve our servers."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return [pid for (pid,) in cursor.fetchall()]


def unwritten(server):
    status, answer = readyz(server)
    return status == 503 and "writer" in answer["problems"] and answer["problems"]


async def test_a_room_that_somebody_locks_leaves_a_server_ready(server, room, page):
    async with await page() as two:
        await two.say("before")
        line = psycopg.connect(conninfo(), autocommit=True)
        with line as other, other.transaction():
            other.execute("SELECT 1 FROM rooms_head FOR UPDATE")
            end = time.monotonic() + 7
            while time.monotonic() < end:
                await two.post("not now")
                status, answer = await asyncio.to_thread(readyz, server)
                assert (status, answer["problems"]) == (200, {})


def conninfo():
    at = connection.settings_dict
    return f"host={at['HOST']} user={at['USER']} dbname={at['NAME']}"


def stood_still(server):
    status, answer = readyz(server)
    return status != 200 and (status, answer)


def test_who_stops_or_is_not_among_the_living_is_not_ready():
    live = SimpleNamespace(
        draining=True,
        heartbeat=SimpleNamespace(node=None),
        lag=SimpleNamespace(worst=0.1),
        writer=SimpleNamespace(age=0.1),
    )
    assert process_troubles(live).keys() == {"draining", "node"}


# Who may see the metrics ----------------------------------------------------------

HERE = ["127.0.0.1", 50_000]
ASKS = {
    "on the machine": (HERE, {"host": "127.0.0.1:8000"}, True),
    "by name": (HERE, {"host": "LocalHost:9101"}, True),
    "by IPv6": (["::1", 50_000], {"host": "[::1]:8000"}, True),
    "on a unix socket": (None, {"host": "localhost"}, True),
    "from elsewhere": (["192.0.2.1", 50_000], {"host": "localhost"}, False),
    "by the public host": (HERE, {"host": "chat.example.org"}, False),
    "without a host": (None, {}, False),
    "through a proxy": (None, {"host": "localhost", "x-real-ip": "127.0.0.1"}, False),
    "through another": (HERE, {"host": "localhost", "forwarded": "for=::1"}, False),
    "by a forged address": (
        HERE,
        {"host": "localhost", "x-forwarded-for": "127.0.0.1"},
        False,
    ),
    "by a forged scheme": (
        HERE,
        {"host": "localhost", "x-forwarded-proto": "http"},
        False,
    ),
    "through a cache": (HERE, {"host": "localhost", "via": "1.1 x"}, False),
}


@pytest.mark.parametrize(("client", "headers", "told"), ASKS.values(), ids=ASKS)
def test_only_who_is_on_the_machine_is_local(client, headers, told):
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_local({"client": client, "headers": sent}) is told


@pytest.mark.parametrize("trust", ["true", "false"])
def test_metrics_are_not_there_for_others(serve, trust):
    url = serve(TRUST_PROXY=trust).url + "/metrics"
    assert httpx.get(url).status_code == 200
    nowhere = httpx.get(url.replace("metrics", "nowhere"))
    for forged in (
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ):
        answer = httpx.get(url, headers=forged)
        assert answer.status_code == nowhere.status_code == 404
        assert "rollcall_" not in answer.text
    assert "rollcall_" not in httpx.get(url, headers={"Host": "x.example"}).text
