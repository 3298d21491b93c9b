"""Ports of the tests' servers: no two of them, in any worker, are given the same."""

import socket
from itertools import islice

from tests.support.servers import PORTS, free_port, own_ports


def ports_of(worker, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    return set(islice(own_ports.__wrapped__(), PORTS))


def test_each_worker_has_ports_of_its_own(monkeypatch):
    workers = [ports_of(f"gw{nth}", monkeypatch) for nth in range(4)]
    assert len(set.union(*workers)) == 4 * PORTS
    assert all(1024 < port < 32768 for ports in workers for port in ports)


def test_a_port_is_not_handed_out_twice():
    assert len({free_port() for _nth in range(20)}) == 20


def test_a_port_that_somebody_listens_on_is_passed_over():
    after = free_port() + 1
    with socket.create_server(("127.0.0.1", after)):
        assert free_port() != after
