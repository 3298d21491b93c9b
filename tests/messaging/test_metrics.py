"""Each number an operator watches moves when the thing happens, and only then."""

import asyncio
import re
import time
from contextlib import suppress

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db.models.functions import Now
from prometheus_client import REGISTRY

from rooms.models import Event, Node
from tests.support.interleavings import make_feed
from tests.support.monitoring import Metrics, readyz, wait_until_ready
from tests.support.room_client import RoomClient, SocketClient, sign_in
from tests.support.servers import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(serve):
    server = serve()
    wait_until_ready(server)
    return server


async def scrape(server):
    return await asyncio.to_thread(Metrics, server)


async def rises(server, name, by=1, above=0, seconds=10):
    """Wait until the sample called `name` has risen to `above` + `by`."""
    async with asyncio.timeout(seconds):
        while (await scrape(server))[name] < above + by:
            await asyncio.sleep(0.05)


async def falls_to_zero(server, name, seconds=10):
    async with asyncio.timeout(seconds):
        while (await scrape(server))[name]:
            await asyncio.sleep(0.05)


# Talk -----------------------------------------------------------------------------


async def test_talk_is_counted_and_timed(server, room, alice, bob):
    before = await scrape(server)
    assert before["rollcall_sockets"] == before["rollcall_rooms"] == 0
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, await sign_in(bob)) as two,
    ):
        for nth in range(5):
            await two.seen(await one.say(f"hello {nth}"))
        during = await scrape(server)
    assert during["rollcall_sockets"] == 2
    assert during["rollcall_rooms"] == 1
    assert during["rollcall_writer_waiting"] == 0
    assert during["rollcall_ack_seconds_count"] == 5
    assert 0 < during["rollcall_ack_seconds_sum"] < 5
    assert 5 <= during["rollcall_delivery_seconds_count"] <= 7  # two came in
    assert 0 < during["rollcall_delivery_seconds_sum"] < 1
    assert during["rollcall_batch_requests_sum"] == 7
    assert 6 <= during["rollcall_batch_requests_count"] <= 7
    waits = "rollcall_database_wait_seconds_count"
    assert during[waits] > before[waits] + 7
    assert during["process_resident_memory_bytes"] > 10_000_000
    lags = "rollcall_loop_lag_seconds_count"
    await rises(server, lags, above=before[lags])
    await rises(server, ("rollcall_sockets_closed_total", "1000"), by=2)
    after = await scrape(server)
    assert after["rollcall_sockets"] == 0


async def test_a_repeated_post_is_absorbed_and_counted(server, room, bob):
    async with RoomClient(server, room, await sign_in(bob)) as page:
        for _nth in range(3):
            await page.say("once", "the-key")
        await page.post("else", "the-key")
        await page.first("error", key="the-key", code="key_reused")  # all were answered
    assert (await scrape(server))["rollcall_duplicate_posts_total"] == 2


async def test_a_crowd_of_posts_is_one_batch(serve, room, bob):
    server = serve(FRAMES_PER_SECOND=1000)
    async with RoomClient(server, room, await sign_in(bob)) as page:
        await asyncio.gather(*(page.say(f"at once {nth}") for nth in range(30)))
    metrics = await scrape(server)
    assert metrics["rollcall_batch_requests_count"] < 20
    assert metrics["rollcall_batch_requests_sum"] >= 31


# Without PostgreSQL, or without some of it ----------------------------------------


async def test_what_postgresql_does_not_answer_is_unknown(serve, room, bob, postgres):
    server = serve(DATABASE_POOL=20)
    async with RoomClient(server, room, await sign_in(bob)) as page:
        await page.say("before")
        batches = "rollcall_batch_requests_count"
        before = (await scrape(server))[batches]
        postgres.pause()
        try:
            asked = [asyncio.create_task(page.post("lost"))]
            await rises(server, batches, above=before)
            asked += [asyncio.create_task(page.post(f"lost {n}")) for n in range(4)]
            await rises(server, "rollcall_writer_waiting", by=4)
            for answer in await asyncio.gather(*asked):
                assert answer["code"] == "try_later"
        finally:
            postgres.resume()
        await asyncio.to_thread(wait_until_ready, server)
        await page.say("after")
    metrics = await scrape(server)
    assert metrics["rollcall_unknown_outcomes_total"] == 5
    assert metrics["rollcall_writer_waiting"] == 0
    assert metrics["rollcall_ack_seconds_count"] == 2


def test_who_waits_for_a_connection_is_counted(serve):
    """The first thread that asks keeps the only one."""
    server = serve(DATABASE_POOL=1)
    readyz(server)
    with suppress(httpx.ReadTimeout):
        httpx.get(f"{server.url}/accounts/login/", timeout=1)
    wait_until(lambda: Metrics(server)["rollcall_pool_waiting"] > 0)
    wait_until(lambda: Metrics(server)["rollcall_pool_timeouts_total"] > 0)
    assert Metrics(server)["rollcall_pool_wait_seconds_total"] > 1


# Hints ----------------------------------------------------------------------------


async def test_what_no_hint_told_is_found_by_the_poll(server, room, alice, bob):
    async with RoomClient(server, room, await sign_in(bob)) as page:
        topic = await sync_to_async(room.set_topic)("From outside", by=alice)
        await page.seen(topic.seq)
    assert await gaps(server) == {"poll": 1, "news": 0, "join": 0}


async def gaps(server):
    metrics = await scrape(server)
    return {
        how: metrics["rollcall_gaps_repaired_total", how]
        for how in ("poll", "news", "join")
    }


async def test_a_gap_that_news_show_is_repaired_at_once(server, room, alice, bob):
    async with RoomClient(server, room, await sign_in(bob)) as page:
        for nth in range(5):  # the poll may be faster, now and then
            await sync_to_async(room.set_topic)(f"From outside {nth}", by=alice)
            await page.seen(await page.say("after it"))
    assert (await gaps(server))["news"] >= 3


async def test_who_joins_does_not_wait_for_the_poll(server, room, alice, bob):
    session = await sign_in(bob)
    async with RoomClient(server, room, session):
        for nth in range(5):
            topic = await sync_to_async(room.set_topic)(f"Outside {nth}", by=alice)
            async with RoomClient(server, room, session) as tab:
                assert tab.welcome["head"] == topic.seq
    assert (await gaps(server))["join"] >= 3


async def test_redis_that_goes_and_comes_back_is_seen(
    serve, redis_server, room, alice, bob
):
    pair = [serve(REDIS_URL=redis_server.url) for _nth in range(2)]
    for server in pair:
        wait_until_ready(server)
    async with (
        RoomClient(pair[0], room, await sign_in(alice)) as one,
        RoomClient(pair[1], room, await sign_in(bob)) as two,
    ):
        assert (await scrape(pair[1]))["rollcall_hints_connected"] == 1
        await sync_to_async(redis_server.kill)()
        before = await gaps(pair[1])
        for nth in range(2):
            await two.seen(await one.say(f"without {nth}"))
        assert (await gaps(pair[1]))["poll"] == before["poll"] + 2
        await falls_to_zero(pair[1], "rollcall_hints_connected")
        await sync_to_async(redis_server.start)()
        await rises(pair[1], "rollcall_hints_connected")


# Pages that start anew, and sockets that close ------------------------------------


async def test_resets_are_counted_by_reason(server, room, alice, bob):
    session = await sign_in(bob)
    async with RoomClient(server, room, session) as page:
        epoch, seq = page.cursor
    cleared = await sync_to_async(room.clear)(alice)
    cursors = {
        "epoch": ("another", seq),
        "ahead": (epoch, seq + 100),
        "cleared": (epoch, cleared.seq - 3),
    }
    for reason, cursor in cursors.items():
        async with RoomClient(server, room, session, cursor) as page:
            assert (await page.first("reset"))["reason"] == reason
    metrics = await scrape(server)
    for reason in cursors:
        assert metrics["rollcall_resets_total", reason] == 1
    assert metrics["rollcall_resets_total", "gap"] == 0


async def test_closes_are_counted_by_code(server, room, bob, stranger):
    session = await sign_in(bob)
    refused = {
        "4401": ("lobby", ""),
        "4403": ("lobby", await sign_in(stranger)),
        "4404": ("nowhere", session),
    }
    for code, (slug, key) in refused.items():
        async with SocketClient(server, f"/ws/rooms/{slug}/", key) as line:
            assert await line.closed() == int(code)
    async with RoomClient(server, room, session) as page:
        page.drop()
    for code in (4000, 4001, 4408, 4999):  # what a browser says is not what we did
        async with RoomClient(server, room, session) as page:
            await page.socket.close(code)
    async with RoomClient(server, room, session) as page:
        for _nth in range(200):
            await page.send('{"type":"nonsense"}')
        await page.closed()
    closed = "rollcall_sockets_closed_total"
    await rises(server, (closed, "4429"))
    metrics = await scrape(server)
    codes = {**dict.fromkeys(refused, 1), "1006": 1, "4408": 0, "4429": 1, "other": 4}
    assert {code: metrics[closed, code] for code in codes} == codes


async def test_a_process_that_was_declared_dead_says_so(server, room, bob):
    async with RoomClient(server, room, await sign_in(bob)) as page:
        await Node.objects.running().aupdate(stopped_at=Now())
        assert await page.closed() == 1012
    metrics = await scrape(server)
    assert metrics["rollcall_declared_dead_total"] == 1
    assert metrics["rollcall_sockets_closed_total", "1012"] >= 1


async def test_a_loop_that_stood_still_is_measured(server):
    server.pause()
    time.sleep(1.6)
    server.resume()

    async def late():
        metrics = await scrape(server)
        lag = "rollcall_loop_lag_seconds"
        return metrics[f"{lag}_count"] - metrics[f"{lag}_bucket", "1.0"]

    async with asyncio.timeout(3):
        while not await late():
            await asyncio.sleep(0.1)


async def test_a_log_with_a_hole_is_an_alarm(room, bob):
    """It cannot come about; here the database's superuser takes out a line."""
    feed = await make_feed(room)
    feed.known = feed.sent = 1
    await Event.objects.filter(room=room, seq=3).adelete()
    before = REGISTRY.get_sample_value("rollcall_log_holes_total")
    await asyncio.wait([feed.catch_up("poll")])
    feed.stop()
    assert REGISTRY.get_sample_value("rollcall_log_holes_total") == before + 1


# The page for operators -----------------------------------------------------------


def test_the_docs_name_every_metric_and_no_other(server):
    page = (ROOT / "docs" / "OPERATIONS.md").read_text()
    named = set(re.findall(r"`(rollcall_\w+|process_\w+)", page))
    named.discard("rollcall_purge")  # a role of PostgreSQL
    ours = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics(server).families
    }
    assert {name for name in ours if name.startswith("rollcall_")} <= named <= ours
