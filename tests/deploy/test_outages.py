"""PostgreSQL is gone for a while, and comes back."""

import asyncio
import time

import pytest
from asgiref.sync import sync_to_async

from tests.support.room_client import RoomClient
from tests.support.servers import LAST_WORD

AWAY, ANSWER_WITHIN, BACK_WITHIN = 15, 3, 5  # seconds
GONE_WITHIN = 30


@pytest.mark.timeout(120)
async def test_without_postgresql_nobody_is_told_a_lie(deployed, keys, lobby):
    async with RoomClient(deployed, lobby, keys["bob"], ping_interval=5) as page:
        before = await page.say("with it")
        await sync_to_async(deployed.postgres.kill)()
        gone_at, nth = time.monotonic(), 0
        while time.monotonic() - gone_at < AWAY:
            nth, asked_at = nth + 1, time.monotonic()
            answer = await page.post("without it", key=f"without-{nth}")
            assert (answer["type"], answer["code"]) == ("error", "try_later")
            assert time.monotonic() - asked_at < ANSWER_WITHIN
        await sync_to_async(deployed.postgres.start)()
        back_at = time.monotonic()
        while (await page.post("it is back", key="back"))["type"] != "ack":
            assert time.monotonic() - back_at < BACK_WITHIN
        seqs = [
            await page.say("without it", key=f"without-{n + 1}") for n in range(nth)
        ]
        assert len(set(seqs)) == nth
        await page.seen(max(seqs))
        assert min(seqs) > before
        assert page.close_code is None


@pytest.mark.timeout(120)
async def test_all_stop_in_time_though_postgresql_is_silent(deployed, keys, lobby):
    async with (
        RoomClient(deployed, lobby, keys["ann"]) as ann,
        RoomClient(deployed, lobby, keys["bob"]) as bob,
    ):
        await ann.seen(await bob.say("before"))
        deployed.postgres.pause()
        try:
            posts = [page.post("in the silence") for page in (ann, bob) for _ in "123"]
            posting = [asyncio.create_task(post) for post in posts]
            await asyncio.sleep(0.5)
            began = time.monotonic()
            for daphne in deployed.daphnes:
                daphne.tell_to_stop()
            codes = [
                await sync_to_async(daphne.process.wait)(LAST_WORD)
                for daphne in deployed.daphnes
            ]
            assert time.monotonic() - began < GONE_WITHIN
            assert codes == [0, 0, 0]
        finally:
            await sync_to_async(back)(deployed)
        assert [answer["code"] for answer in await asyncio.gather(*posting)] == [
            "try_later"
        ] * len(posting)
        assert (ann.close_code, bob.close_code) == (1012, 1012)


def back(deployed):
    deployed.postgres.resume()
    for daphne in deployed.daphnes:
        if not daphne.is_running:
            daphne.start()
