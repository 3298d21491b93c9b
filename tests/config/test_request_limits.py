"""What strangers can do with HTTP where there is no Nginx in front."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from twisted.internet.testing import StringTransport

from config.server.daphne import Server
from config.server.request_limits import MAX_BODY, MAX_HEADERS, WITHIN, Factory, Request
from tests.support import resource_usage

MB = 1_000_000
PIECE = b"a" * 65_536
SIGN_IN = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n\r\n"


@pytest.fixture
def server(serve):
    server = serve()
    httpx.get(f"{server.url}/accounts/login/")  # what a first page loads is no leak
    return server


def ask(server, headers, pieces):
    """What comes back for a POST with this body, sent as long as somebody takes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        with suppress(OSError):
            line.sendall(SIGN_IN % (server.port, headers))
            for piece in pieces:
                line.sendall(piece)
        return heard(line)


def heard(line):
    """All that comes until the other side closes."""
    with suppress(ConnectionResetError):
        return b"".join(iter(lambda: line.recv(65_536), b""))
    return b""


def endless(piece, size=200 * MB):
    return (piece for _nth in range(size // len(piece)))


def as_chunk(piece):
    return b"%x\r\n%s\r\n" % (len(piece), piece)


BODIES = {
    "of a told size": (b"Content-Length: 600000000", PIECE, b"413"),
    "in large chunks": (b"Transfer-Encoding: chunked", as_chunk(PIECE), b"413"),
    "in small chunks": (b"Transfer-Encoding: chunked", as_chunk(b"a") * 999, b"413"),
    "that says it is short": (b"Content-Length: 10", PIECE, b"403"),
}


@pytest.mark.parametrize(("headers", "piece", "status"), BODIES.values(), ids=BODIES)
def test_a_large_body_fills_no_memory(server, headers, piece, status):
    before = resource_usage.memory(server)
    began = time.monotonic()
    answer = ask(server, headers, endless(piece))
    assert resource_usage.memory(server) - before < 10 * MB
    assert answer.split()[1] == status
    assert time.monotonic() - began < WITHIN


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_64_kib_at_most(server, chunked):
    def post(size):
        body = iter([b"a" * size]) if chunked else b"a" * size
        return httpx.post(f"{server.url}/accounts/login/", content=body).status_code

    assert post(MAX_BODY) == 403  # it has no token: Django has read it
    assert post(MAX_BODY + 1) == 413


def test_nobody_is_asked_to_send_a_body_that_is_refused(server):
    answer = ask(server, b"Expect: 100-continue\r\nContent-Length: 600000000", [])
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_after_a_large_body_no_request_is_taken_on_that_connection(server):
    body = as_chunk(PIECE) + as_chunk(PIECE) + b"0\r\n\r\n"
    healthy = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = ask(server, b"Transfer-Encoding: chunked", [body + healthy, healthy])
    assert answer.count(b"HTTP/1.1") == 1
    assert b"alive" not in answer


def test_a_connection_serves_one_request_after_the_other(server):
    with httpx.Client(base_url=server.url) as client:
        statuses = [
            client.post("/accounts/login/", content=b"a" * 60_000).status_code
            for _nth in range(5)
        ]
        ports = {client.get("/healthz").extensions["network_stream"] for _ in "ab"}
    assert statuses == [403] * 5
    assert len(ports) == 1


def test_headers_are_so_many_and_no_more(server):
    def get(count):
        headers = [(f"X-{nth}", "a") for nth in range(count)]
        return httpx.get(f"{server.url}/healthz", headers=headers).status_code

    assert get(MAX_HEADERS // 2) == 200
    assert get(MAX_HEADERS + 1) == 400


SLOW = {
    "headers": (b"GET / HTTP/1.1\r\n", b"a"),
    "a first line": (b"", b"a"),
    "a body": (SIGN_IN % (1, b"Content-Length: 60000"), b"a"),
    "a body in chunks": (SIGN_IN % (1, b"Transfer-Encoding: chunked"), as_chunk(b"a")),
    "nothing": (b"", b""),
}


def trickle(server, begin, piece):
    """The seconds until a connection that brings a byte now and then is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.5) as line:
        began = time.monotonic()
        line.sendall(begin)
        while time.monotonic() - began < 2 * WITHIN:
            try:
                line.sendall(piece)
                if not line.recv(1000):
                    break
            except TimeoutError:
                pass
            except OSError:
                break
        return time.monotonic() - began


def test_a_slow_request_ends(server):
    with ThreadPoolExecutor() as slow:
        lasted = slow.map(lambda how: trickle(server, *how), SLOW.values())
        lasted = dict(zip(SLOW, lasted, strict=True))
    assert {
        how: seconds
        for how, seconds in lasted.items()
        if not WITHIN - 1 < seconds < WITHIN + 5
    } == {}


def test_a_form_is_not_read_in_the_event_loop(monkeypatch):
    """Twisted would do so, too: 70 ms for one of 64 KiB."""
    taken = []
    monkeypatch.setattr(Request, "process", lambda request: taken.append(request))
    channel = Factory(Server(None, listener=None, on_ready=None)).buildProtocol(None)
    channel.factory.server.connections = {}
    channel.makeConnection(StringTransport())
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3"
    channel.dataReceived(SIGN_IN % (1, form) + b"a=b")
    channel.connectionLost(None)
    assert [request.args for request in taken] == [{}]
