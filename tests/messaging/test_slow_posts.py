"""Slow texts over real sockets: others go on, and nothing is left behind."""

import asyncio
import os
import signal

import psutil
import pytest
from django.conf import settings

from messaging.models import Message
from tests.conftest import database_url
from tests.support.monitoring import Metrics, readyz, wait_until_ready
from tests.support.room_client import RoomClient, faults, sign_in
from tests.support.servers import wait_until
from tests.support.slow_texts import ENDLESS, SLOW, UnboundedServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def boundless(transactional_db, tmp_path):
    """boundless(…): a server whose workers colour languages that never end."""
    servers = []

    def start(**environment):
        own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
        servers.append(UnboundedServer(tmp_path, **own, **environment))
        server = servers[-1].start()
        wait_until_ready(server)
        wait_until(lambda: Metrics(server)["rollcall_rendering_workers"] == 3)
        return server

    yield start
    for server in servers:
        if server.is_running:
            server.stop()


def renderers(server):
    """The fork server and its workers."""
    return psutil.Process(server.process.pid).children(recursive=True)


async def html_of(seq):
    return await Message.objects.values_list("html", flat=True).aget(event__seq=seq)


async def test_a_text_without_end_holds_up_nobody(boundless, room, alice, bob):
    server = boundless()
    before = {one.pid for one in renderers(server)}
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, await sign_in(bob)) as two,
    ):
        seqs = {}

        async def talk():
            for nth in range(20):
                seqs[nth] = await two.say(f"**{nth}**")

        talking = asyncio.create_task(talk())
        endless = [await one.say(ENDLESS) for _nth in range(3)]
        afterwards = await one.say("**formatted?**")
        status, _answer = await asyncio.to_thread(readyz, server)
        assert status == 200
        await talking
        for seq in endless:
            assert await html_of(seq) == "<p>```mcschema<br>&lt;!--<br>```</p>"
        assert await html_of(afterwards) == "<p>**formatted?**</p>"
        for nth, seq in seqs.items():
            assert await html_of(seq) == f"<p><strong>{nth}</strong></p>"
    now = {one.pid for one in renderers(server)}
    assert len(before - now) == 1
    metrics = Metrics(server)
    assert metrics["rollcall_rendering_workers_killed_total"] == 1
    assert metrics["rollcall_texts_stored_plain_total", "late"] == 1
    assert metrics["rollcall_texts_stored_plain_total", "minute"] == 3
    assert metrics["rollcall_rendering_seconds_count"] == 20
    assert await faults() == []


async def test_posts_keep_their_order_behind_a_slow_one(boundless, room, alice, bob):
    server = boundless()
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, await sign_in(bob)) as two,
    ):
        posts = [ENDLESS, "plain", "**bold**", "/topic New", "after", "/topic Newer"]
        posts += [f"{nth}" for nth in range(10)]
        waiting = [asyncio.create_task(one.post(body)) for body in posts]
        others = await two.say("not behind them")
        answers = await asyncio.gather(*waiting)
        seqs = [answer["seq"] for answer in answers]
        assert seqs == sorted(seqs)
        assert others < seqs[0]


@pytest.mark.parametrize("body", SLOW.values(), ids=SLOW)
async def test_what_was_slow_is_acked(serve, room, alice, body):
    async with RoomClient(serve(), room, await sign_in(alice)) as one:
        seq = await one.say(body)
        assert seq < await one.say("next")
        assert (await html_of(seq)).startswith(("<p>", "<pre>"))


# However a server ends ----------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_no_worker_outlives_its_server(boundless, room, alice, number):
    server = boundless()
    left = renderers(server)
    assert len(left) == 4
    async with RoomClient(server, room, await sign_in(alice)) as one:
        posting = asyncio.create_task(one.post(ENDLESS))
        await asyncio.sleep(0.1)  # a worker is busy with it
        server.process.send_signal(number)
        posting.cancel()
    code = await asyncio.to_thread(server.process.wait, 30)
    assert code == (-number if number == signal.SIGKILL else 0)
    _gone, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []
    assert "Traceback" not in server.log


async def test_ctrl_c_in_a_terminal_leaves_the_workers_to_the_server(
    boundless, room, alice
):
    """A terminal sends it to all processes of the group: they would die untimely."""
    server = boundless()
    assert all(os.getpgid(one.pid) != server.process.pid for one in renderers(server))
