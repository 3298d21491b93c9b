"""`manage.py serve`, as a person or a service manager runs it."""

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from config.embedded import cluster
from config.server.static import CHUNK, respond
from tests.conftest import database_url
from tests.support.servers import ROOT, Rollcall, free_port, own_environment, var_dir

# By itself ------------------------------------------------------------------------


@pytest.fixture
def var():
    folder = Path(tempfile.mkdtemp(dir=var_dir()))
    folder.chmod(0o711)  # for PostgreSQL's account to pass through
    return folder


@pytest.fixture
def new_server():
    """A start as an operator's, with all that it takes."""
    return Rollcall


@pytest.fixture
def embedded(tmp_path, var):
    """A server with nothing but its own PostgreSQL."""
    server = Rollcall(tmp_path, VAR_DIR=var)
    yield server.start()
    if server.is_running:
        server.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_peace(embedded, var, number):
    assert httpx.get(embedded.url).status_code in (200, 302)
    assert cluster.is_up(var)
    assert embedded.stop(number) == 0
    assert not cluster.is_up(var)
    assert "Traceback" not in embedded.log


def test_ctrl_c_in_a_terminal_stops_everything_in_peace(embedded, var):
    """A terminal sends it to all processes of the group."""
    os.killpg(embedded.process.pid, signal.SIGINT)
    assert embedded.process.wait(timeout=20) == 0
    assert not cluster.is_up(var)


def test_it_says_what_to_do_next(embedded):
    assert embedded.log.splitlines() == [
        "Setting up the database …",
        f"Rollcall is ready: open {embedded.url}",
        "The first visitor makes the admin.",
        "Ctrl-C stops it.",
    ]


def shell(var, code):
    return subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=ROOT,
        env=own_environment(VAR_DIR=var),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_command_shares_the_database_of_the_running_server(embedded, var):
    who = "from accounts.models import User; "
    shell(var, f"{who} User.objects.create_user('Ann', password='x')")
    assert cluster.is_up(var)
    embedded.stop()
    assert shell(var, f"{who} print(User.objects.get())") == "Ann"
    assert not cluster.is_up(var)


def test_the_second_start_finds_everything_as_it_was(embedded):
    embedded.stop()
    first = embedded.log
    embedded.start()
    assert "Setting up" not in embedded.log.removeprefix(first)


# With what the tests give it ------------------------------------------------------


def test_without_redis_there_is_one_sentence(serve):
    log = serve(REDIS_URL="redis://:hush@127.0.0.1:1").log
    assert "Redis does not answer" in log
    assert "hush" not in log
    assert "Traceback" not in log


STOP_WHEN_READY = """
import os, signal
from config.server import loop; loop.install()
import django; django.setup()
from django.core.management import call_command
from config.management.commands import serve
serve.Command.welcome = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
call_command("serve")
"""


def test_a_signal_in_the_moment_it_is_ready_is_heeded(transactional_db):
    """Until the reactor runs it has no ear for signals, and they were lost."""
    own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
    done = subprocess.run(
        [sys.executable, "-c", STOP_WHEN_READY],
        cwd=ROOT,
        env=own_environment(PORT=free_port(), **own),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (0, "Rollcall has stopped.\n")


def test_a_server_that_was_killed_leaves_nothing_in_the_way(serve):
    server = serve()
    server.kill()
    server.start()
    assert httpx.get(server.url).status_code in (200, 302)


def test_a_statement_of_a_server_has_a_time_limit(serve, tmp_path, transactional_db):
    code = (
        "import config.asgi; from django.db import connection as c; "
        "print(*[c.cursor().execute(f'SHOW {n}_timeout').fetchone()[0] for n in "
        "('statement', 'lock', 'idle_in_transaction_session')])"
    )
    own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=ROOT,
        env=own_environment(**own),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "3s 1s 800ms\n"


@pytest.fixture
def behind_nginx(serve, tmp_path):
    """A server on a unix socket, as Nginx knows it, and a client of it."""
    path = tmp_path / "rollcall.sock"
    server = serve("--unix-socket", path)
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        yield server, client, path


def test_a_unix_socket_is_for_its_owner_and_group(behind_nginx):
    server, client, path = behind_nginx
    assert client.get("/accounts/login/").status_code == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    server.stop()
    assert not path.exists()


def test_a_unix_socket_is_not_taken_from_a_living_server(behind_nginx, serve):
    _server, client, path = behind_nginx
    with pytest.raises(RuntimeError, match=f"Another server runs at {path}"):
        serve("--unix-socket", path)
    assert client.get("/accounts/login/").status_code == 200


def test_a_unix_socket_is_taken_from_a_killed_server(behind_nginx):
    server, client, _path = behind_nginx
    server.kill()
    server.start()
    assert client.get("/accounts/login/").status_code == 200


# What it sends --------------------------------------------------------------------


@pytest.fixture
def client(serve):
    with httpx.Client(base_url=serve().url) as client:
        yield client


def test_pages_are_hardened(client):
    headers = client.get("/accounts/login/").headers
    at = client.base_url.port
    policy = dict(
        part.strip().split(" ", 1)
        for part in headers["content-security-policy"].split(";")
    )
    assert re.fullmatch(r"'self'( 'nonce-[\w+/=-]+')?", policy.pop("script-src"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self'",
        "font-src": "'self'",
        "manifest-src": "'self'",
        "connect-src": f"'self' ws://127.0.0.1:{at} ws://localhost:{at}",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "rollcall",
    }
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers


def test_a_forged_host_is_refused_and_not_logged(serve):
    server = serve()
    answer = httpx.get(server.url, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "evil" not in server.log


STYLE = "/static/css/base.css"


def test_static_files_can_be_kept_for_ever_by_their_hashed_name(client):
    manifest = settings.STATIC_ROOT / "staticfiles.json"
    hashed = httpx.Response(200, content=manifest.read_bytes()).json()["paths"]
    answer = client.get(f"/static/{hashed['css/base.css']}")
    assert answer.text == (ROOT / "static/css/base.css").read_text()
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == 'text/css; charset="utf-8"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "immutable" in answer.headers["cache-control"]
    assert "access-control-allow-origin" not in answer.headers


def test_static_files_speak_http(client):
    full = client.get(STYLE, headers={"Accept-Encoding": "identity"})
    etag = {"If-None-Match": full.headers["etag"]}
    assert client.get(STYLE, headers=etag).status_code == 304
    part = {"Range": "bytes=2-5", "Accept-Encoding": "identity"}
    assert client.get(STYLE, headers=part).content == full.content[2:6]
    assert client.head(STYLE).content == b""
    assert client.post(STYLE).status_code == 405
    for path in ("nothing.css", "css", "%2e%2e/secret_key", "../secret_key", ""):
        assert client.get(f"/static/{path}").status_code == 404


async def test_a_large_file_is_sent_in_pieces(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x" * (3 * CHUNK))
    sent = []

    class Answer:
        status, headers, file = 200, [], path.open("rb")

    async def send(message):
        sent.append(message.get("body", b""))

    await respond(Answer, send)
    assert [len(body) for body in sent] == [0, CHUNK, CHUNK, CHUNK, 0]
    assert Answer.file.closed


async def test_a_reader_who_goes_away_leaves_no_open_file(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x")

    class Answer:
        status, headers, file = 200, [], path.open("rb")

    async def send(message):
        if message["type"] == "http.response.body":
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await respond(Answer, send)
    assert Answer.file.closed


def test_daphne_turns_the_loop_that_was_installed_before_it():
    script = (
        "from config.server import loop; loop.install(); import daphne.server;"
        "from twisted.internet import reactor; print(reactor._asyncioEventloop)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.startswith("<uvloop.Loop"), done.stderr


def test_a_start_waits_for_nothing_that_few_need():
    """Each takes a tenth of a second: passkeys, and Redis where none is set."""
    script = (
        "import sys, django; django.setup(); import config.asgi;"
        "print(*{'fido2', 'redis'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=own_environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "\n", done.stderr
