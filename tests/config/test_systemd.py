"""What systemd is told, by datagrams as of sd_notify(3)."""

import socket

import pytest

from tests.support.servers import Rollcall


@pytest.fixture
def new_server():
    """A start as an operator's, with all that it takes."""
    return Rollcall


@pytest.fixture
def systemd(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(15)
        yield listener


def next_of(systemd):
    return systemd.recv(100).decode()


def test_it_says_that_it_is_ready_alive_and_about_to_stop(systemd, serve):
    server = serve(NOTIFY_SOCKET=systemd.getsockname(), WATCHDOG_USEC=1_000_000)
    assert next_of(systemd) == "READY=1"
    assert {next_of(systemd) for _nth in range(3)} == {"WATCHDOG=1"}
    server.stop()
    said = next_of(systemd)
    while said == "WATCHDOG=1":
        said = next_of(systemd)
    assert said == "STOPPING=1"


def test_while_it_hangs_it_says_nothing(systemd, serve):
    server = serve(NOTIFY_SOCKET=systemd.getsockname(), WATCHDOG_USEC=500_000)
    assert next_of(systemd) == "READY=1"
    server.pause()
    systemd.settimeout(1)
    with pytest.raises(TimeoutError):
        while next_of(systemd):
            pass
    server.resume()
    assert next_of(systemd) == "WATCHDOG=1"


def test_a_systemd_that_is_gone_harms_nobody(tmp_path, serve):
    assert serve(NOTIFY_SOCKET=tmp_path / "nobody").stop() == 0
