"""PostgreSQL is gone for a while, and comes back."""

import time

import pytest
from asgiref.sync import sync_to_async

from tests.live import Page

AWAY, ANSWER_WITHIN, BACK_WITHIN = 15, 3.5, 5  # seconds


@pytest.mark.timeout(120)
async def test_without_postgresql_nobody_is_told_a_lie(deployed, keys, lobby):
    async with Page(deployed, lobby, keys["bob"], ping_interval=5) as page:
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
