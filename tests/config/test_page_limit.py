"""How many pages a process works on at once, and what becomes of the others."""

import asyncio
from collections import Counter

import httpx
import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from config.server import page_limit
from config.server.page_limit import AT_ONCE, PageLimit
from tests.conftest import database_url
from tests.support import resource_usage
from tests.support.monitoring import Metrics
from tests.support.room_client import sign_in

CROWD = 80
BUSY = "Rollcall is busy right now."


@pytest.fixture
def server(serve):
    server = serve()
    httpx.get(f"{server.url}/accounts/login/")
    return server


@pytest.mark.django_db(transaction=True)
async def test_a_crowd_takes_few_threads_and_the_rest_is_sent_away(server, alice):
    """Pages wait for a table that somebody holds, each for a second."""
    before = resource_usage.outside(server)["threads"]
    async with client_of(server, await sign_in(alice)) as client:
        with await sync_to_async(psycopg.connect)(database_url()) as holder:
            await sync_to_async(holder.execute)("LOCK TABLE accounts_session")
            pages = [
                asyncio.create_task(client.get("/rooms/")) for _nth in range(CROWD)
            ]
            await asyncio.sleep(1.5)
            threads = resource_usage.outside(server)["threads"] - before
            waiting = (await asyncio.to_thread(Metrics, server))[
                "rollcall_pages_waiting"
            ]
            beside = [await client.get(path) for path in NOT_COUNTED]
            answers = await asyncio.gather(*pages)
        after = await client.get("/rooms/")
    assert threads <= 2 * AT_ONCE + 2  # each page's, and one that sees it off
    assert waiting > CROWD / 2
    assert [answer.status_code for answer in beside] == [200] * len(NOT_COUNTED)
    assert {answer.status_code for answer in answers} == {503}
    sent_away = Counter(BUSY in answer.text for answer in answers)
    assert sent_away[True] > CROWD / 4
    assert sent_away[False] >= 2 * AT_ONCE  # these had their turn
    assert after.status_code == 200
    refused = (await asyncio.to_thread(Metrics, server))["rollcall_pages_refused_total"]
    assert refused == sent_away[True]


NOT_COUNTED = ["/healthz", "/metrics", "/static/css/base.css"]


def client_of(server, session):
    return httpx.AsyncClient(
        base_url=server.url,
        cookies={settings.SESSION_COOKIE_NAME: session},
        limits=httpx.Limits(max_connections=None),
        timeout=30,
    )


# By hand --------------------------------------------------------------------------


class SlowApplication:
    """An application that answers when it is told to; `most` were in it at once."""

    def __init__(self):
        self.may_end = asyncio.Event()
        self.inside = self.most = 0

    async def __call__(self, scope, receive, send):
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.may_end.wait()
        finally:
            self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr(page_limit, "AT_ONCE", 2)
    monkeypatch.setattr(page_limit, "MAX_WAITING", 3)
    return PageLimit(SlowApplication())


async def get(limit, language="en"):
    """The messages of the answer."""
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"accept-language", language.encode())]
    await limit(
        {"type": "http", "method": "GET", "path": "/", "headers": headers}, None, send
    )
    return sent


async def begin(limit, count):
    tasks = [asyncio.create_task(get(limit)) for _nth in range(count)]
    await asyncio.sleep(0.05)
    return tasks


async def test_who_waits_has_a_turn_and_who_is_too_many_has_none(limit):
    tasks = await begin(limit, 7)
    assert [task.done() for task in tasks] == [False] * 5 + [True] * 2
    limit.application.may_end.set()
    statuses = [(await task)[0]["status"] for task in tasks]
    assert statuses == [200] * 5 + [503] * 2
    assert limit.application.most == 2


async def test_who_waits_too_long_is_told_when_to_come_back(limit, monkeypatch):
    monkeypatch.setattr(page_limit, "WITHIN", 0.1)
    await begin(limit, 2)
    start, body = await get(limit)
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"5"
    assert BUSY in body["body"].decode()
    limit.application.may_end.set()


async def test_the_answer_is_in_the_readers_language(limit):
    tasks = await begin(limit, 5)
    _start, body = await get(limit, "ru")
    assert "Rollcall сейчас занят" in body["body"].decode()
    limit.application.may_end.set()
    await asyncio.gather(*tasks)


async def test_a_page_that_is_cancelled_gives_its_place_back(limit):
    for task in await begin(limit, 5):
        task.cancel()
    limit.application.may_end.set()
    statuses = [(await task)[0]["status"] for task in await begin(limit, 5)]
    assert statuses == [200] * 5


async def test_a_page_that_fails_gives_its_place_back(limit):
    async def fail(scope, receive, send):
        raise RuntimeError

    good, limit.application = limit.application, fail
    for _nth in range(5):
        with pytest.raises(RuntimeError):
            await get(limit)
    good.may_end.set()
    limit.application = good
    assert (await get(limit))[0]["status"] == 200
