"""The lines of the fault bench: what gets through them in which weather."""

import asyncio
import random
import time

import pytest

from tests.lab.faults import proxy
from tests.lab.faults.proxy import COMMIT, Weather, whole_messages

HELLO = b"hello"
SOON, LATER = 0.15, 2  # seconds in which something does not come, and does


class Trial:
    """A client, a proxy, and a server that answers with what it got."""

    async def __aenter__(self):
        self.clients = []
        self.server = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        target = self.server.sockets[0].getsockname()
        self.proxy = proxy.Proxy(target, random.Random(1), is_narrow=False)
        self.port = await self.proxy.listen()
        await self.dial()
        return self

    async def __aexit__(self, *exception):
        self.proxy.change(Weather())
        self.proxy.reset()
        for each in (*self.clients, self.served, self.proxy.server, self.server):
            each.close()
        await asyncio.sleep(0)

    async def _echo(self, reader, writer):
        self.served = writer
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    async def dial(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(self.writer)

    async def say(self, data=HELLO):
        self.writer.write(data)
        await self.writer.drain()

    async def hears(self, data=HELLO, within=LATER):
        try:
            async with asyncio.timeout(within):
                return await self.reader.readexactly(len(data)) == data
        except TimeoutError:
            return False

    async def is_cut(self):
        async with asyncio.timeout(LATER):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@pytest.fixture
async def trial():
    async with Trial() as trial:
        await trial.say()
        assert await trial.hears()
        yield trial


@pytest.mark.parametrize(
    "weather",
    [
        Weather("drop"),
        Weather("half-open", direction="up"),
        Weather("half-open", direction="down"),
    ],
)
async def test_what_is_held_back_comes_when_the_line_heals(trial, weather):
    trial.proxy.change(weather)
    await trial.say()
    assert not await trial.hears(within=SOON)
    trial.proxy.change(Weather())
    assert await trial.hears()


async def test_the_end_of_a_line_is_held_back_like_its_bytes(trial):
    trial.proxy.change(Weather("drop"))
    trial.served.close()
    reading = asyncio.ensure_future(trial.is_cut())
    await asyncio.sleep(SOON)
    assert not reading.done()
    trial.proxy.change(Weather())
    assert await reading


async def test_a_slow_line_takes_its_time(trial):
    began = time.monotonic()
    trial.proxy.change(Weather("delay", delay=0.1, jitter=0.01))
    await trial.say()
    assert await trial.hears()
    assert time.monotonic() - began > 0.18  # there and back


async def test_a_narrow_line_lets_through_so_many_bytes_a_second(trial):
    began = time.monotonic()
    trial.proxy.change(Weather("throttle", rate=10_000.0))
    text = bytes(3000)
    await trial.say(text)
    assert await trial.hears(text)
    assert 0.2 < time.monotonic() - began < LATER


async def test_a_line_breaks_after_so_many_bytes(trial):
    trial.proxy.change(Weather("cut", after=8))
    await trial.say(b"12345678")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await trial.reader.readexactly(9)


async def test_all_lines_break_and_new_ones_do_not_hold(trial):
    trial.proxy.change(Weather("reset"))
    assert await trial.is_cut()
    await trial.dial()
    assert await trial.is_cut()
    trial.proxy.change(Weather())
    await trial.dial()
    await trial.say()
    assert await trial.hears()


async def test_the_answer_to_a_commit_is_lost_with_its_line(trial, monkeypatch):
    monkeypatch.setattr(proxy, "SHARE", 1)
    trial.proxy.change(Weather("cut commits"))
    await trial.say()
    assert await trial.hears()
    await trial.say(COMMIT)
    assert await trial.is_cut()


def published(payload):
    return b"*3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$%d\r\n%s\r\n" % (
        len(payload),
        payload,
    )


def test_only_whole_hints_are_told_apart():
    one, other = published(b"\r\n$1"), published(bytes(range(256)))
    assert whole_messages(one + other) == [one, other]
    assert whole_messages(one + other[:-1]) is None
    assert whole_messages(b"+OK\r\n" + one) is None


@pytest.mark.parametrize(
    ("mode", "fewest", "most"),
    [("lose hints", 0, 99), ("double hints", 101, 200), ("shuffle hints", 99, 100)],
)
async def test_hints_are_lost_doubled_or_shuffled(trial, mode, fewest, most):
    hints = [published(b"%d" % number) for number in range(100)]
    line = next(iter(trial.proxy.lines))
    got = whole_messages(line._hurt_hints(b"".join(hints), mode, random.Random(1)))
    assert fewest <= len(got) <= most
    assert set(got) <= set(hints)
    assert got != hints
