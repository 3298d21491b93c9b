"""Whatever people type costs only their own message something, and only its format."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from messaging import metrics
from messaging.rendering import DEADLINE
from messaging.rendering import pool as pools
from messaging.rendering.pool import AT_WORK, WORKERS, Pool
from tests.support.servers import ROOT
from tests.support.slow_texts import ENDLESS

ANN, BEN = 1, 2
BOLD, RENDERED = "**hi**", "<p><strong>hi</strong></p>"
AS_TYPED = "<p>**hi**</p>"


@pytest.fixture
def patient(monkeypatch):
    """The server's clock grants workers more: the machine of a test may be busy. Their
    own deadline, by the processor's time, stays what it is."""
    monkeypatch.setattr(pools, "DEADLINE", 5)
    monkeypatch.setattr(pools, "STUCK_AFTER", 20)


@pytest.fixture
async def pool(patient):
    """A Pool with all its workers."""
    async with running() as pool:
        yield pool


@pytest.fixture
async def boundless(patient, monkeypatch):
    """One whose workers colour all of Pygments' languages: some never end."""
    monkeypatch.setattr(
        pools, "COMMAND", (sys.executable, "-m", "tests.support.slow_texts", "worker")
    )
    async with running() as pool:
        yield pool


class running:
    async def __aenter__(self):
        self.pool = Pool()
        self.keeping = asyncio.create_task(self.pool.keep())
        await until(lambda: self.pool.workers == WORKERS)
        return self.pool

    async def __aexit__(self, *exception):
        self.keeping.cancel()
        self.pool.close()


async def until(is_so):
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


def stored_plain(why):
    return metrics.STORED_PLAIN.labels(why)._value.get()


async def test_a_text_is_formatted_by_a_worker(pool):
    assert await pool.to_html(ANN, BOLD) == RENDERED


async def test_plain_text_takes_no_worker():
    assert await Pool().to_html(ANN, "hi there, you?") == "<p>hi there, you?</p>"


async def test_many_texts_of_many_people_are_all_formatted(pool):
    for _round in range(10):
        texts = [pool.to_html(person, f"**{person}**") for person in range(10)]
        assert await asyncio.gather(*texts) == [
            f"<p><strong>{person}</strong></p>" for person in range(10)
        ]


async def test_a_text_without_end_ends_its_worker_and_is_stored_as_it_is(
    boundless, monkeypatch
):
    monkeypatch.setattr(pools, "DEADLINE", DEADLINE)
    before = children()
    began = time.monotonic()
    html = await boundless.to_html(ANN, ENDLESS)
    assert time.monotonic() - began < 1
    assert html == "<p>```mcschema<br>&lt;!--<br>```</p>"
    await until(lambda: len(before - children()) == 1)
    await until(lambda: len(children() - before) == 1)


def children():
    """The pids of the fork server and its workers that live. (A test run has other
    children: Redis, browsers.)"""
    ours = psutil.Process().children(recursive=True)
    return {one.pid for one in ours if is_renderer(one)}


def is_renderer(process):
    with suppress(psutil.NoSuchProcess):
        return process.cmdline() == list(pools.COMMAND)  # a zombie has none


def fork_server():
    (found,) = filter(is_renderer, psutil.Process().children())
    return found.pid


async def test_its_author_writes_plain_text_for_a_minute_and_others_do_not(
    boundless, monkeypatch
):
    monkeypatch.setattr(pools, "PLAIN_FOR", 1)
    await boundless.to_html(ANN, ENDLESS)
    late = time.monotonic()
    assert await boundless.to_html(BEN, BOLD) == RENDERED
    while (html := await boundless.to_html(ANN, BOLD)) != RENDERED:
        assert html == AS_TYPED
        assert time.monotonic() - late < 10
        await asyncio.sleep(0.05)
    assert time.monotonic() - late > 0.9


async def test_one_person_keeps_one_worker_busy_and_others_have_the_rest(boundless):
    slow = [asyncio.create_task(boundless.to_html(ANN, ENDLESS)) for _nth in range(50)]
    await asyncio.sleep(0)
    assert len(boundless._busy) == 1
    assert await boundless.to_html(BEN, BOLD) == RENDERED
    assert not any(one.done() for one in slow)  # in a quarter of a second
    assert all("mcschema" in html for html in await asyncio.gather(*slow))


async def test_who_comes_while_all_work_waits_in_turn_or_is_given_up(
    boundless, monkeypatch
):
    monkeypatch.setattr(boundless, "_patience", 0.02)
    slow = [
        asyncio.create_task(boundless.to_html(person, ENDLESS))
        for person in range(10, 10 + AT_WORK)
    ]
    await asyncio.sleep(0)
    before = stored_plain("busy")
    assert await boundless.to_html(BEN, BOLD) == AS_TYPED
    assert stored_plain("busy") == before + 1
    assert not any(one.done() for one in slow)
    await asyncio.gather(*slow)
    await until(lambda: not boundless._busy)
    await until(lambda: boundless.workers == WORKERS)
    assert await boundless.to_html(BEN, BOLD) == RENDERED


# A machine that is busy with other things --------------------------------------------

# A worker that gets no processor for some seconds, if a text says so.
STARVED = """
import re, time
from messaging.rendering import worker
render = worker.to_html

def starved(body):
    if found := re.search(r"starve (\\d+)", body):
        time.sleep(int(found[1]) / 10)
    return render(body)

worker.to_html = starved
worker.main()
"""


@pytest.fixture
async def starved(monkeypatch):
    """A Pool whose workers wait for as many tenths of a second as a text says."""
    monkeypatch.setattr(pools, "COMMAND", (sys.executable, "-c", STARVED))
    async with running() as pool:
        yield pool


async def test_a_busy_machine_costs_a_text_its_format_and_its_author_nothing(
    starved, monkeypatch
):
    workers = children()
    before, began = stored_plain("late"), time.monotonic()
    assert await starved.to_html(ANN, "**starve 10**") == "<p>**starve 10**</p>"
    assert time.monotonic() - began < 0.9
    assert stored_plain("late") == before + 1
    assert list(starved._busy) == [ANN]  # who has still no more than one worker
    await until(lambda: not starved._busy)
    monkeypatch.setattr(pools, "DEADLINE", 5)
    assert await starved.to_html(ANN, BOLD) == RENDERED
    assert stored_plain("late") == before + 1
    assert children() == workers


async def test_a_worker_that_does_not_come_back_is_replaced_and_ends(
    starved, monkeypatch
):
    before = children()
    assert await starved.to_html(ANN, "**starve 999**") == "<p>**starve 999**</p>"
    await until(lambda: not starved._busy)
    monkeypatch.setattr(pools, "DEADLINE", 5)
    assert await starved.to_html(ANN, BOLD) == RENDERED
    await until(lambda: len(children() - before) == 1)
    await until(lambda: len(before - children()) == 1)


async def test_a_machine_that_stood_still_costs_nothing(pool, monkeypatch):
    monkeypatch.setattr(pools, "LAST_MOMENT", 4)
    monkeypatch.setattr(pools, "DEADLINE", 4.2)
    workers = [psutil.Process(pid) for pid in children()]
    for worker in workers:
        worker.suspend()
    text = asyncio.create_task(pool.to_html(ANN, BOLD))
    await asyncio.sleep(0.01)
    time.sleep(0.5)
    for worker in workers:
        worker.resume()
    assert await text == RENDERED


async def test_people_take_turns():
    """However many texts one has waiting, the next person's first comes before them."""
    pool = Pool()  # without a worker, so that all wait
    many = [pool.to_html(ANN, f"**{nth}**") for nth in range(4)]
    texts = [*many, pool.to_html(BEN, "**a**"), pool.to_html(3, "**x**")]
    waiting = [asyncio.create_task(text) for text in texts]
    await asyncio.sleep(0)
    handed_out = [pool._next().body for _nth in range(6)]
    assert handed_out == ["**0**", "**a**", "**x**", "**1**", "**2**", "**3**"]
    for one in waiting:
        one.cancel()


async def test_a_worker_that_is_killed_is_replaced(pool):
    server = fork_server()
    killed = children() - {server}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    # A new one is forked when the pool has noticed that one is gone.
    await until(lambda: len(children() - killed) == 1 + WORKERS)
    await until(lambda: pool.workers == WORKERS)
    assert await pool.to_html(ANN, BOLD) == RENDERED
    assert server in children()


async def test_without_any_worker_texts_are_stored_as_they_are(monkeypatch):
    monkeypatch.setattr(pools, "COMMAND", ("false",))
    pool = Pool()
    first = asyncio.create_task(pool.to_html(ANN, BOLD))
    await asyncio.sleep(0)
    with pytest.raises(OSError):
        await pool.keep()
    assert await first == AS_TYPED
    assert await pool.to_html(ANN, BOLD) == AS_TYPED
    monkeypatch.setattr(pools, "COMMAND", ("/nowhere/python",))
    with pytest.raises(OSError):
        await pool.keep()


async def test_a_fault_in_rendering_costs_a_text_its_format_and_no_worker(monkeypatch):
    faulty = "from messaging.rendering import worker; del worker.to_html; worker.main()"
    monkeypatch.setattr(pools, "COMMAND", (sys.executable, "-c", faulty))
    async with running() as pool:
        workers = children()
        before = stored_plain("fault")
        for _nth in range(5):
            assert await pool.to_html(ANN, BOLD) == AS_TYPED
        assert stored_plain("fault") == before + 5
        assert children() == workers


async def test_a_worker_knows_no_secrets_and_no_django(pool, monkeypatch):
    for pid in children():
        assert not {"SECRET_KEY", "DATABASE_URL"} & psutil.Process(pid).environ().keys()
    script = "import messaging.rendering.worker, sys; print('django' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
