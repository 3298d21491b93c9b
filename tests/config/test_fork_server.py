"""A forked server behaves as one that is started; else tests by it say little."""

import signal
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from tests.support.servers import own_environment


def test_it_serves_and_stops_in_peace(serve):
    server = serve()
    assert httpx.get(server.url).status_code == 302
    assert server.stop() == 0
    assert server.log.endswith("Rollcall has stopped.\n")


def test_it_can_be_killed_and_started_again(serve):
    server = serve()
    server.kill()
    assert server.process.returncode == -signal.SIGKILL
    assert not psutil.pid_exists(server.process.pid)
    server.start()
    assert httpx.get(server.url).status_code == 302


@pytest.mark.parametrize(
    "words, code", [(["check"], 0), (["serve", "--no-such-option"], 2)]
)
def test_a_code_comes_back(fork_server, tmp_path, words, code):
    with (tmp_path / "log").open("wb") as log:
        child = fork_server.start(words, own_environment(), log)
    assert child.wait(timeout=30) == code == child.poll()


def test_waiting_has_an_end(serve):
    process = serve().process
    start = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.1)
    assert time.monotonic() - start >= 0.1
    assert process.poll() is None


def test_nothing_of_ours_is_loaded_before_the_fork():
    script = (
        "import importlib, sys; from tests.support.fork_server import LIBRARIES;"
        "[importlib.import_module(name) for name in LIBRARIES];"
        "ours = 'accounts', 'config', 'messaging', 'rooms';"
        "print(*[name for name in sys.modules if name.startswith(ours)],"
        "'twisted.internet.reactor' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n", done.stderr
