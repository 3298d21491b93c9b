"""All processes are restarted in turn, under load, as an upgrade does."""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress

import httpx
import pytest
from asgiref.sync import sync_to_async
from websockets.exceptions import ConnectionClosed

from tests.deploy.conftest import settle
from tests.support.room_client import RoomClient

PEOPLE = 40
SPEAKS_EVERY = 3  # seconds; there are two accounts, and a limit for each
LIVE_AGAIN_WITHIN = 3.0  # seconds, for 99 of 100
SIGN_IN = "/accounts/login/"
GATE = 150  # handshakes a second: no more than deploy/install.sh lets in


class SteadyTalker:
    """Who stays in a room whatever happens, as a page does, and goes on talking."""

    def __init__(self, deployment, room, key, name):
        self._place = deployment, room, key
        self.name = name
        self.returns = []  # how long each took, in seconds
        self.faults = []  # refusals, and closes without a word
        self.acked = {}  # {key: seq}
        self.seen = {}  # {seq: key of the message}
        self._cursor = None

    async def stay(self, leaving):
        lost_at = None
        while not leaving.is_set():
            async with RoomClient(*self._place, self._cursor, ping_interval=5) as page:
                if lost_at:
                    self.returns.append(time.monotonic() - lost_at)
                await self._talk(page, leaving)
            lost_at = time.monotonic()
            # The cursor checks that no number is missing or doubled.
            self._cursor = page.cursor
            self.seen |= {event["seq"]: event.get("key") for event in page.events}
            if page.close_code == 1012:
                (farewell,) = page.of_type("error")
                await asyncio.sleep(random.uniform(0, farewell["within"]))
            elif not leaving.is_set():
                self.faults.append(page.close_code)

    async def _talk(self, page, leaving):
        while not (page.close_code or leaving.is_set()):
            key = f"{self.name}-{len(self.acked)}"
            with suppress(AssertionError, ConnectionClosed):  # closed: it is repeated
                answer = await page.post(f"Said as {key}", key=key)
                if answer["type"] == "ack":
                    self.acked[key] = answer["seq"]
                else:
                    self.faults.append(answer)
            with suppress(AssertionError):
                await page.until(lambda: page.close_code, seconds=SPEAKS_EVERY)


class Browser:
    """Who opens a room's page, or signs in, again and again, and wants an answer."""

    def __init__(self, deployment, key):
        cookies = {"sessionid": key}
        options = {"base_url": deployment.url, "timeout": 10}
        self._member = httpx.AsyncClient(cookies=cookies, **options)
        self._options = options
        self.answers = Counter()  # {(method, status or error): times}

    async def open_pages(self, leaving):
        async with self._member:
            while not leaving.is_set():
                await self._note("GET", self._member.get("/rooms/lobby/"))
                await asyncio.sleep(0.02)

    async def go_on_signing_in(self, leaving):
        while not leaving.is_set():
            await self.sign_in()
            await asyncio.sleep(0.4)  # the application takes 100 in 5 minutes

    async def sign_in(self):
        """As Ann, with a browser that nobody has seen before."""
        async with httpx.AsyncClient(**self._options) as stranger:
            await self._note("GET", stranger.get(SIGN_IN))
            form = {"login": "ann", "password": "x"}
            form["csrfmiddlewaretoken"] = stranger.cookies.get("csrftoken", "")
            headers = {"Referer": self._options["base_url"]}
            post = stranger.post(SIGN_IN, data=form, headers=headers)
            await self._note("POST", post)

    async def _note(self, method, request):
        try:
            self.answers[method, (await request).status_code] += 1
        except httpx.HTTPError as error:
            self.answers[method, repr(error)] += 1


@pytest.mark.timeout(240)
async def test_nobody_sees_an_error_and_everybody_is_soon_back(deploy, lobby):
    deployed = await sync_to_async(deploy)(nginx={"HANDSHAKES": GATE})
    keys = await sync_to_async(settle)(deployed)
    browser = Browser(deployed, keys["ann"])
    visitors = [
        SteadyTalker(deployed, lobby, list(keys.values())[nth % 2], f"visitor{nth}")
        for nth in range(PEOPLE)
    ]
    leaving = asyncio.Event()
    stays = [asyncio.create_task(visitor.stay(leaving)) for visitor in visitors]
    for visit in (browser.open_pages, browser.go_on_signing_in):
        stays.append(asyncio.create_task(visit(leaving)))
    for daphne in deployed.daphnes:
        await asyncio.sleep(4)
        # Some are at the door just then, so that each process has some to answer.
        stays += [asyncio.create_task(browser.sign_in()) for _nth in range(8)]
        await asyncio.sleep(0.3)
        assert await sync_to_async(daphne.stop)() == 0
        await sync_to_async(daphne.start)()
    await asyncio.sleep(4)
    leaving.set()
    await asyncio.gather(*stays)
    returns = sorted(seconds for one in visitors for seconds in one.returns)
    print(f"{len(returns)} returns, p99 {returns[len(returns) * 99 // 100]:.2f} s")
    print(dict(browser.answers))
    assert [fault for one in visitors for fault in one.faults] == []
    # (429: somebody who signs in too often is told so; it is no fault of the restart.)
    assert set(browser.answers) <= {("GET", 200), ("POST", 302), ("POST", 429)}
    assert browser.answers["GET", 200] > 200
    assert browser.answers["POST", 302] > 20
    assert len(returns) >= PEOPLE
    assert returns[len(returns) * 99 // 100] < LIVE_AGAIN_WITHIN
    stored = {seq: key for one in visitors for seq, key in one.seen.items() if key}
    acked = {key: seq for one in visitors for key, seq in one.acked.items()}
    assert len(acked) > 2 * PEOPLE
    assert len(set(stored.values())) == len(stored)
    last = max(stored)
    assert all(stored[seq] == key for key, seq in acked.items() if seq <= last)
    for daphne in deployed.daphnes:
        assert "Traceback" not in daphne.log
