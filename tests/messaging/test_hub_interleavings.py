"""Every order of a join: all schedules of a small scope, driven through the real hub.

Two write, one here and one in another process; one joins from a cursor; one is here
already. What a step is: tests/support/interleavings.py. A failure tells the schedule,
step by step.
"""

from dataclasses import dataclass

import pytest

from messaging import protocol
from messaging.live import feed
from messaging.live.feed import Feed
from messaging.protocol import Close
from tests.support.interleavings import ALICE, BOB, SocketDouble, explore, kick, message

KICKS = {"here": (kick, message), "elsewhere": (message, kick)}


@dataclass
class Scope:
    """Who takes part in a run, and what waits in it."""

    cursor: int | str | None
    here: object = message  # what the writer in this process writes
    elsewhere: object = message  # … and the one in the other
    is_hint_lost: bool = False
    has_records: bool = True  # in the hint
    polls: int = 0  # at any time; where a hint is lost, one more at the end
    is_open: bool = True  # or the joiner is the first to open the room
    is_slow: bool = False  # the line of who is here already
    waits: tuple = ("ready",)  # on the joiner's line
    breaths: int = 0  # how often two steps may come in one turn of the loop

    async def __call__(self, world):
        world.breaths = self.breaths
        world.sockets = []
        if self.is_open:
            await self._open(world)
        joiner = SocketDouble(world, BOB, "bob", waits=self.waits)
        world.sockets.append(joiner)
        world.actor(*world.local(self.here))
        options = {"is_lost": self.is_hint_lost, "has_records": self.has_records}
        world.actor(*world.foreign(self.elsewhere, **options))
        for _nth in range(self.polls):
            world.actor(*world.poll())
        world.actor(*world.joiner(joiner, self.cursor))
        await world.run()
        if self.is_hint_lost:
            await world.find_the_rest()

    async def _open(self, world):
        others = [(ALICE, "alice")]
        if kick in (self.here, self.elsewhere):
            others.append((BOB, "bob's other page"))
        for user, name in others:
            waits = ("deliver",) if self.is_slow and user is ALICE else ()
            socket = SocketDouble(world, user, name, waits=waits)
            world.arrive(socket, None)
            await world.join(socket, None)
            world.sockets.append(socket)


def faults(world):
    """What the sockets of a run got that they must not, or did not get."""
    if not world.has_end:
        yield "it has no end"
    for task in world.tasks:
        if not task.done() or task.exception():
            yield f"it broke: {task}"
    out = next((one.seq for one in world.log if one.kind == "kick"), None)
    for socket in world.sockets:
        if socket.entry is None:
            wrong = socket.received and "was refused, and got something"
        elif out and socket.user is BOB:
            wrong = of_who_is_out(socket, out)
        else:
            wrong = of_who_stays(socket, len(world.log))
        if wrong:
            yield f"{socket.name} {wrong}: {socket.first}, {socket.seqs}"


def of_who_stays(socket, head):
    if socket.closed:
        return "was closed"
    if socket.of_type("reset"):
        return "was made to start anew"
    if not socket.first:
        return "was not welcomed"
    if socket.seqs != list(range(socket.first, head + 1)):
        return "has a hole, a double or no end"


def of_who_is_out(socket, out):
    seqs = socket.seqs
    if socket.closed != Close.NOT_ALLOWED:
        return "may stay"
    if seqs and seqs[-1] > out:
        return "got what came after the kick"
    if seqs and seqs != list(range(socket.first, seqs[-1] + 1)):
        return "has a hole or a double"


async def check(monkeypatch, scope, at_least):
    """Every schedule of this scope is without fault; their number."""
    count = 0
    async for world in explore(monkeypatch, scope):
        count += 1
        assert not list(faults(world)), world.story
    print(f"{count} schedules")
    assert count >= at_least


async def fault_in(monkeypatch, scope):
    """The first fault that a schedule of this scope shows."""
    async for world in explore(monkeypatch, scope):
        for fault in faults(world):
            return fault
    return None


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(feed, "MAX_REST", 0)


@pytest.fixture(params=[True, False], ids=["from memory", "from the database"])
def ring(request, monkeypatch):
    """Where what was sent already is read from."""
    if not request.param:
        monkeypatch.setattr("messaging.live.ring.RING", 0)


# Who stays ------------------------------------------------------------------------


@pytest.mark.parametrize("cursor", [None, 1, 2, "head"])
async def test_all_news_come(monkeypatch, ring, cursor):
    await check(monkeypatch, Scope(cursor), at_least=190)


@pytest.mark.parametrize("cursor", [None, 2, "head"])
async def test_each_frame_takes_its_time(monkeypatch, cursor):
    scope = Scope(cursor, waits=("ready", "deliver"))
    await check(monkeypatch, scope, at_least=500)


async def test_two_things_happen_at_once(monkeypatch):
    await check(monkeypatch, Scope(2, breaths=1), at_least=2_000)


async def test_a_hint_is_lost(monkeypatch):
    await check(monkeypatch, Scope(2, is_hint_lost=True, polls=1), at_least=5_000)


@pytest.mark.parametrize("cursor", [None, "head"])
async def test_a_hint_has_only_numbers(monkeypatch, cursor):
    await check(monkeypatch, Scope(cursor, has_records=False), at_least=250)


async def test_a_cursor_above_the_head_delays_nobody(monkeypatch):
    """It makes the feed look for what is not there, while a hint comes."""
    async for world in explore(monkeypatch, Scope(99, has_records=False)):
        for socket in world.sockets:
            assert socket.seqs == list(range(socket.first, 5)), world.story
        assert [one["reason"] for one in socket.of_type("reset")] == ["ahead"]


async def test_somebody_elses_line_is_slow(monkeypatch):
    await check(monkeypatch, Scope(2, is_slow=True), at_least=2_000)


async def test_the_room_rests_between_frames(monkeypatch):
    monkeypatch.setattr(feed, "MAX_REST", 0.02)
    monkeypatch.setattr(feed, "REST_FACTOR", 1e12)  # so it is always that long
    await check(monkeypatch, Scope(2), at_least=1_000)


@pytest.mark.parametrize("cursor", [None, 2, "head"])
async def test_the_room_is_opened_just_then(monkeypatch, cursor):
    """No news are lost on the way, so that nobody has to wait for the next poll."""
    await check(monkeypatch, Scope(cursor, is_open=False), at_least=300)


async def test_the_room_is_opened_and_a_hint_is_lost(monkeypatch):
    scope = Scope(2, is_open=False, is_hint_lost=True)
    await check(monkeypatch, scope, at_least=170)


# Who is put out -------------------------------------------------------------------


@pytest.mark.parametrize("where", KICKS)
@pytest.mark.parametrize("is_open", [True, False])
async def test_who_is_put_out_gets_nothing_after_it(monkeypatch, ring, where, is_open):
    here, elsewhere = KICKS[where]
    scope = Scope(1, here, elsewhere, is_open=is_open)
    await check(monkeypatch, scope, at_least=280)


async def test_who_is_put_out_while_a_frame_is_on_its_way(monkeypatch):
    scope = Scope(1, here=kick, waits=("ready", "deliver"))
    await check(monkeypatch, scope, at_least=1_000)


async def test_the_hint_of_a_kick_is_lost(monkeypatch):
    scope = Scope(2, elsewhere=kick, is_hint_lost=True, polls=1)
    await check(monkeypatch, scope, at_least=3_000)


# Can it see? ----------------------------------------------------------------------


async def test_a_replay_that_is_off_by_one_is_seen(monkeypatch):
    missed = Feed._missed
    monkeypatch.setattr(
        Feed, "_missed", lambda self, seen, upto: missed(self, seen - 1, upto)
    )
    assert "double" in await fault_in(monkeypatch, Scope(2))


async def test_trust_in_hints_alone_is_seen(monkeypatch):
    def believe(self, records, last):
        for record in records:
            self._ring.append(record)
            self.known = self._announced = record.seq
        self._news.set()

    monkeypatch.setattr(Feed, "take", believe)
    assert await fault_in(monkeypatch, Scope(2))


async def test_going_live_after_one_look_at_the_log_is_seen(monkeypatch):
    """What is sent between the read and the subscription falls between the two."""

    async def replay(self, socket, seen):
        if seen < self.sent:
            missed = await self._missed(seen, self.sent)
            await socket.ready()
            await socket.deliver(protocol.events(record.json for record in missed))
        self._live.add(socket)

    monkeypatch.setattr(Feed, "replay", replay)
    assert "hole" in await fault_in(monkeypatch, Scope(1))


async def test_no_look_for_a_kick_at_the_door_is_seen(monkeypatch):
    async def has_removed(self, socket):
        return False

    monkeypatch.setattr(Feed, "_has_removed", has_removed)
    assert "may stay" in await fault_in(monkeypatch, Scope(2, here=kick))


async def test_news_that_an_opening_room_does_not_hear_are_seen(monkeypatch):
    catch_up = Feed.catch_up
    monkeypatch.setattr(
        Feed,
        "catch_up",
        lambda self, why: catch_up(self, why) if why == "news" else None,
    )
    assert await fault_in(monkeypatch, Scope(None, is_open=False))
