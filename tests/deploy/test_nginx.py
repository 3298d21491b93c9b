"""Through the real Nginx, with the files of deploy/nginx."""

import asyncio
import json
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress

import httpx
import psycopg
import pytest
from asgiref.sync import sync_to_async

from accounts.models import Session
from tests.deploy.conftest import settle
from tests.support.deployment import Deployment, new_folder
from tests.support.room_client import RoomClient, SocketClient
from tests.support.servers import wait_until

CSRF = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
STATIC = re.compile(r'"(/static/[^"]+\.css)"')


def log_of(deployment):
    return [json.loads(line) for line in deployment.nginx.access_log.splitlines()]


def directly(daphne):
    """A client of a Daphne's own socket, as Nginx is one."""
    transport = httpx.HTTPTransport(uds=daphne.socket_path)
    host = {"Host": daphne.environment["PUBLIC_URL"].removeprefix("http://")}
    return httpx.Client(transport=transport, base_url="http://daphne", headers=host)


def raw(port, request):
    """All that comes back for these bytes; b"" also where the line is cut."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(request)
        with suppress(ConnectionResetError):
            return b"".join(iter(lambda: line.recv(65536), b""))
    return b""


def address_of(deployment, key):
    """The address from which a session was last seen."""
    query = "SELECT host(address) FROM accounts_session WHERE session_key = %s"
    [[address]] = deployment.postgres.execute(query, Session.hash_of(key))
    return address


# Pages ----------------------------------------------------------------------------


def test_a_page_is_served(browser):
    response = browser.get("/", follow_redirects=True)
    assert response.status_code == 200
    assert "<title>" in response.text
    assert response.headers["Server"] == "nginx"


def test_who_is_signed_in_sees_the_room(ann):
    assert "lobby" in ann.get("/rooms/lobby/").text


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X_Forwarded_For", "X-Client-IP"],
)
def test_a_forged_address_is_not_believed(ann, deployed, keys, header):
    ann.get("/rooms/", headers={header: "192.0.2.66"})
    assert address_of(deployed, keys["ann"]) == "127.0.0.1"


def test_a_daphne_believes_what_nginx_says(deployed, keys):
    """Or the test above would show nothing."""
    with directly(deployed.daphnes[0]) as nginx:
        cookie = {"Cookie": f"sessionid={keys['bob']}"}
        nginx.get("/rooms/", headers={"X-Forwarded-For": "192.0.2.1", **cookie})
    assert address_of(deployed, keys["bob"]) == "192.0.2.1"


def test_a_strangers_root_path_goes_no_further(browser, deployed):
    evil = {"Daphne-Root-Path": "/evil"}
    with directly(deployed.daphnes[0]) as nginx:
        assert "/evil/" in nginx.get("/", headers=evil).headers["Location"]
    assert "/evil" not in browser.get("/", headers=evil).headers["Location"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost"]
)
def test_an_unknown_host_gets_nothing(browser, host):
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        browser.get("/", headers={"Host": host})


def test_who_names_no_host_gets_nothing(deployed):
    assert raw(deployed.nginx.port, b"GET / HTTP/1.0\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /static/../../secret_key HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET /static/%2e%2e/secret_key HTTP/1.1\r\nHost: 127.0.0.1\r\n"
         b"Connection: close\r\n\r\n", 404),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 400),
    ],
    ids=["two hosts", "two lengths", "upwards", "upwards, coded", "path", "headers"],
)  # fmt: skip
def test_a_crooked_request_is_refused(deployed, request_, status):
    assert raw(deployed.nginx.port, request_).split()[1] == str(status).encode()


def test_a_port_that_was_made_up_is_in_no_address(browser):
    response = browser.get("/rooms/", headers={"Host": "127.0.0.1:1"})
    assert response.status_code == 302
    assert ":1/" not in response.headers["Location"]


def test_a_body_is_64_kib_at_most(browser):
    assert browser.post("/accounts/login/", content=b"a" * 65536).status_code == 403
    assert browser.post("/accounts/login/", content=b"a" * 65537).status_code == 413


def test_numbers_are_not_for_the_world(browser):
    for path in ("/metrics", "/metrics/1", "/metrics/", "/%6detrics"):
        response = browser.get(path)
        assert response.status_code == 404
        assert "Django" not in response.text


async def test_each_process_tells_its_numbers_on_this_machine(deployed, keys, lobby):
    own = f"http://127.0.0.1:{deployed.nginx.metrics_port}"

    def sockets():
        pages = [httpx.get(f"{own}/metrics/{nth}").text for nth in range(3)]
        numbers = [re.search(r"^rollcall_sockets (\S+)$", page, re.M) for page in pages]
        return sorted(float(number[1]) for number in numbers)

    async with RoomClient(deployed, lobby, keys["ann"]):
        wait_until(lambda: sockets() == [0, 0, 1])
    assert httpx.get(f"{own}/accounts/login/").status_code == 404


def test_a_prober_may_ask_from_anywhere(browser):
    assert browser.get("/healthz").json() == {"status": "alive"}
    assert browser.get("/readyz").json()["status"] == "ready"


def test_the_log_holds_no_key_and_no_query(browser, deployed):
    browser.get("/accounts/password/reset/key/1-verysecret/", follow_redirects=True)
    browser.get("/accounts/confirm-email/verysecret/")
    browser.get("/accounts/login/?next=verysecret")
    wait_until(lambda: "/accounts/login/" in deployed.nginx.access_log)
    assert "/accounts/password/reset/key/…" in {one["path"] for one in log_of(deployed)}
    assert "verysecret" not in deployed.nginx.access_log


# Static files ---------------------------------------------------------------------


def test_a_hashed_file_is_packed_and_kept_for_ever(browser):
    [path, *_] = STATIC.findall(browser.get("/accounts/login/").text)
    response = browser.get(path, headers={"Accept-Encoding": "gzip"})
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Content-Type"] == "text/css; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "ETag" in response.headers


def test_a_file_without_a_hash_is_not_kept(browser):
    response = browser.get("/static/css/base.css")
    assert response.headers["Cache-Control"] == "public, max-age=60"


def test_static_files_take_no_daphne(browser, deployed):
    browser.get("/static/css/tokens.css")
    [line] = [one for one in log_of(deployed) if "tokens.css" in one["path"]]
    assert line["upstream"] == ""
    assert browser.get("/static/").status_code in (403, 404)


# Sockets --------------------------------------------------------------------------


async def test_two_people_talk(deployed, keys, lobby):
    async with (
        RoomClient(deployed, lobby, keys["ann"]) as ann,
        RoomClient(deployed, lobby, keys["bob"]) as bob,
    ):
        seq = await ann.say("hello")
        await bob.seen(seq)
        assert (await bob.event("message"))["body"] == "hello"


def processes_of(deployment, path):
    """How often each process had a socket with that path, as the log has it."""
    return Counter(one["upstream"] for one in log_of(deployment) if one["path"] == path)


async def test_the_sockets_of_a_room_meet_in_one_process(deployed, keys, lobby):
    before = processes_of(deployed, "/ws/rooms/lobby/").total()
    async with AsyncExitStack() as pages:
        for key in [*keys.values()] * 3:
            await pages.enter_async_context(RoomClient(deployed, lobby, key))
    wait_until(lambda: processes_of(deployed, "/ws/rooms/lobby/").total() == before + 6)
    assert len(processes_of(deployed, "/ws/rooms/lobby/")) == 1


async def test_rooms_are_spread_over_all_processes(deployed, keys):
    rooms = [f"/ws/rooms/nowhere-{nth}/" for nth in range(24)]
    for room in rooms:
        async with SocketClient(deployed, room, keys["ann"]) as line:
            await line.closed()
    wait_until(lambda: all(processes_of(deployed, room) for room in rooms))
    used = {name for room in rooms for name in processes_of(deployed, room)}
    assert len(used) == len(deployed.daphnes)


async def test_when_its_process_dies_a_room_goes_on_in_another(deployed, keys, lobby):
    async with RoomClient(deployed, lobby, keys["ann"]) as page:
        cursor = page.cursor
    wait_until(lambda: processes_of(deployed, "/ws/rooms/lobby/"))
    [upstream] = processes_of(deployed, "/ws/rooms/lobby/")
    [home] = [one for one in deployed.daphnes if one.socket_path in upstream]
    home.kill()
    try:
        async with RoomClient(deployed, lobby, keys["ann"], cursor) as page:
            await page.say("still here")
    finally:
        home.start()
    async with RoomClient(deployed, lobby, keys["ann"], cursor) as page:
        await page.say("home again")
    wait_until(lambda: log_of(deployed)[-1]["upstream"] == upstream)


async def test_a_reload_leaves_the_sockets_open(deployed, keys, lobby):
    async with RoomClient(deployed, lobby, keys["ann"]) as page:
        deployed.nginx.reload()
        await page.say("over the former worker")
        async with RoomClient(deployed, lobby, keys["bob"]) as other:
            seq = await other.say("over the new one")
            await page.seen(seq)


async def test_another_origin_is_refused(deployed, keys):
    line = SocketClient(
        deployed, "/ws/rooms/", keys["ann"], origin="http://evil.example"
    )
    with pytest.raises(Exception, match="HTTP 403"):
        await line.__aenter__()


# Of one's own: what is hurt -------------------------------------------------------


@pytest.fixture(scope="module")
def strict(deployable):
    """One process, and limits that are soon reached."""
    limits = {"SOCKETS_PER_ADDRESS": 3, "DOORS_PER_ADDRESS": 1}
    deployment = Deployment(new_folder(), daphnes=1, nginx=limits)
    deployment.start()
    deployment.keys = settle(deployment)
    yield deployment
    deployment.stop()


async def test_a_former_worker_closes_its_sockets_at_last(strict, lobby):
    conf = strict.nginx.etc / "nginx.conf"
    assert "worker_shutdown_timeout 5m;" in conf.read_text()
    conf.write_text(conf.read_text().replace("timeout 5m;", "timeout 1s;"))
    strict.nginx.reload()
    async with RoomClient(strict, lobby, strict.keys["ann"]) as page:
        await page.say("over this worker")
        strict.nginx.reload()
        assert await page.closed() == 1006


def test_when_no_process_answers_a_page_says_so_and_comes_back(strict):
    with httpx.Client(base_url=strict.url, follow_redirects=True) as browser:
        strict.daphnes[0].kill()
        response = browser.get("/rooms/")
        assert response.status_code == 503
        assert "starting again" in response.text and "перезапускается" in response.text
        assert response.headers["Retry-After"] == "5"
        strict.daphnes[0].start()
        assert browser.get("/rooms/").status_code == 200


async def test_an_address_has_so_many_sockets_and_no_more(strict, lobby):
    async with AsyncExitStack() as pages:
        for _nth in range(3):
            page = RoomClient(strict, lobby, strict.keys["ann"])
            await pages.enter_async_context(page)
        with pytest.raises(Exception, match="HTTP 429"):
            await RoomClient(strict, lobby, strict.keys["ann"]).__aenter__()
        await page.say("those that are in stay in")
    async with RoomClient(strict, lobby, strict.keys["ann"]):
        pass


@pytest.mark.timeout(90)
async def test_who_would_wait_too_long_at_the_gate_is_told_to_come_back(deploy, lobby):
    site = await sync_to_async(deploy)(
        daphnes=1, nginx={"HANDSHAKES": 1, "GATE_LINE": 2}
    )
    key = (await sync_to_async(settle)(site))["ann"]
    async with AsyncExitStack() as stack:
        came = await asyncio.gather(
            *(
                stack.enter_async_context(RoomClient(site, lobby, key))
                for _nth in range(8)
            ),
            return_exceptions=True,
        )
    refused = [str(one) for one in came if isinstance(one, Exception)]
    assert set(refused) == {"server rejected WebSocket connection: HTTP 429"}
    assert len(came) - len(refused) >= 3  # one, and those in line


def test_tries_at_the_door_are_limited_and_pages_are_not(strict):
    with httpx.Client(base_url=strict.url) as browser:
        posts = [browser.post("/accounts/login/").status_code for _nth in range(40)]
        assert Counter(posts).keys() == {403, 429}
        assert posts[:20] == [403] * 20
        assert browser.get("/accounts/login/").status_code == 200


# Of one's own: visitors of many addresses ------------------------------------------

VISITOR = "X-Visitor"
AT_ONCE = 4


@pytest.fixture(scope="module")
def narrow(deployable):
    """One process, few pages for an address, and a header that says which that is."""
    limits = {
        "PAGES_PER_ADDRESS": 1,
        "PAGES_AT_ONCE": AT_ONCE,
        "SOCKETS_PER_ADDRESS": 3,
    }
    deployment = Deployment(new_folder(), daphnes=1, nginx=limits)
    change(
        deployment,
        "http {",
        f"http {{ set_real_ip_from 127.0.0.1; real_ip_header {VISITOR};",
    )
    deployment.start()
    deployment.keys = settle(deployment)
    yield deployment
    deployment.stop()


def change(deployment, old, new):
    conf = deployment.nginx.etc / "nginx.conf"
    assert conf.read_text().count(old) == 1
    conf.write_text(conf.read_text().replace(old, new))


def statuses(deployment, addresses, path="/accounts/login/"):
    with httpx.Client(base_url=deployment.url) as client:
        return Counter(
            client.get(path, headers={VISITOR: address}).status_code
            for address in addresses
        )


def test_pages_of_one_address_are_limited_and_no_others(narrow):
    # The first, those at once, and what a second or two more allow.
    assert 5 <= statuses(narrow, ["192.0.2.1"] * 20)[200] <= 9
    assert statuses(narrow, [f"192.0.2.{nth}" for nth in range(2, 22)]) == {200: 20}


def test_static_files_are_not_limited(narrow):
    path = "/static/css/base.css"
    assert statuses(narrow, ["192.0.2.50"] * 30, path) == {200: 30}


@pytest.mark.parametrize("network", ["2001:db8:1:2", "2001:db8:0:a", "2001:0:a0d:0"])
def test_an_ipv6_network_of_64_bits_is_one_visitor(narrow, network):
    neighbours = [f"{network}:{nth:x}:{nth:x}:0:{nth}" for nth in range(1, 21)]
    assert 5 <= statuses(narrow, neighbours)[200] <= 9
    others = [f"2001:db8:f{nth:x}:{network[-1]}::1" for nth in range(20)]
    if network == "2001:db8:1:2":
        assert statuses(narrow, others) == {200: 20}


async def test_it_is_one_visitor_to_the_limit_of_sockets_too(narrow, lobby):
    def page(address):
        cookie = f"sessionid={narrow.keys['ann']}"
        headers = {"Cookie": cookie, VISITOR: address}
        return RoomClient(narrow, lobby, "", additional_headers=headers)

    async with AsyncExitStack() as pages:
        for nth in range(3):
            await pages.enter_async_context(page(f"2001:db8:5::{nth}"))
        with pytest.raises(Exception, match="HTTP 429"):
            await page("2001:db8:5::4").__aenter__()
        await pages.enter_async_context(page("2001:db8:6::4"))


def test_pages_of_one_address_are_answered_so_many_at_once(narrow):
    """Each waits for a table for a second, so that they come together."""
    change(narrow, "page_rate:10m rate=1r/s", "page_rate:10m rate=1000r/s")
    narrow.nginx.reload()
    with (
        psycopg.connect(narrow.postgres.url_as("postgres")) as holder,
        ThreadPoolExecutor(20) as threads,
    ):
        holder.execute("LOCK TABLE accounts_session")
        answers = []
        for _nth in range(20):
            answers.append(threads.submit(signed_in, narrow, "192.0.2.60"))
            time.sleep(0.02)
        limited = Counter(answer.result().status_code for answer in answers)
    assert limited.keys() == {503, 429}
    assert limited[503] >= AT_ONCE


def signed_in(deployment, address):
    headers = {VISITOR: address, "Cookie": f"sessionid={deployment.keys['ann']}"}
    return httpx.get(f"{deployment.url}/rooms/", headers=headers, timeout=20)
