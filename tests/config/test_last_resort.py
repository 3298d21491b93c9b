"""A server that is told to stop ends, whatever a thread of it does."""

import signal

import pytest
from django.conf import settings

from config.server.daphne import DRAIN_WITHIN, FINISH_WITHIN
from config.server.last_resort import END_WITHIN
from tests.conftest import database_url
from tests.support.hung_server import FAULTS, HungServer
from tests.support.monitoring import wait_until_ready
from tests.support.servers import ROOT

PATIENCE = 30  # seconds; its own are 4, the rest is for a busy machine


@pytest.fixture
def stuck(transactional_db, tmp_path):
    """stuck(fault): a server a thread of which does not come back."""
    servers = []

    def start(fault):
        own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
        servers.append(HungServer(tmp_path, fault, **own))
        server = servers[-1].start()
        wait_until_ready(server)
        server.get_stuck()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_ends_though_a_thread_does_not(stuck, fault):
    server = stuck(fault)
    server.tell_to_stop()
    code = server.process.wait(timeout=PATIENCE)
    if fault == "a_thread_holds_the_interpreter":
        assert code == -signal.SIGPROF
    else:
        assert code == 1
        assert "most recent call first" in server.log  # it says where its threads are


def test_a_signal_that_is_ignored_stays_ignored(serve):
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = serve()
    finally:
        signal.signal(signal.SIGINT, usual)
    server.process.send_signal(signal.SIGINT)
    server.tell_to_stop()
    assert server.process.wait(timeout=PATIENCE) == 0
    assert "ERROR" not in server.log


def test_a_server_has_time_for_its_drain_and_ends_before_it_is_killed():
    unit = (ROOT / "deploy" / "systemd" / "rollcall@.service").read_text()
    assert DRAIN_WITHIN + FINISH_WITHIN < END_WITHIN < 40
    assert "TimeoutStopSec=40" in unit
    assert "stop_grace_period: 40s" in (ROOT / "deploy" / "compose.yml").read_text()
