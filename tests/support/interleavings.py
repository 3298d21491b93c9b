"""Every order in which a hub can come to know a small log: a world whose time stands
still until it is told what happens next.

The hub is the real one; what it waits for is not. A read of the log gets its answer
when the schedule says so, and shows the log at any moment between question and answer;
a line takes a frame, and a sleep ends, in the same way. What nothing of this touches
runs by itself, in the event loop's own order. So a list of choices is a run, and all
lists are all runs.
"""

import asyncio
from functools import partial
from types import SimpleNamespace

import orjson
from asgiref.sync import sync_to_async

from messaging import history
from messaging.history import Record, Snapshot
from messaging.live import feed as feeds
from messaging.live import hub, ring
from messaging.live.feed import Feed
from messaging.live.hub import Hub
from messaging.live.removals import removed_by
from messaging.live.ring import Rings
from messaging.protocol import Cursor
from messaging.writing.requests import Entry

EPOCH, ROOM = "epoch", 1
ALICE, BOB = (
    SimpleNamespace(pk=pk, username=name) for pk, name in ((1, "alice"), (2, "bob"))
)
MAX_STEPS = 60  # a run that takes more has no end
_sleep = asyncio.sleep


async def explore(monkeypatch, scene):
    """Run `scene(world)` once for each schedule; yields the worlds, at their ends."""
    path = []
    while path is not None:
        world = ControlledWorld(path)
        world.control(monkeypatch)
        await scene(world)
        yield world
        await world.end()
        path = following(world.path)


def following(path):
    """The next list of choices ([(choice, how many there were)]) in the order of a
    dictionary; None after the last."""
    while path and path[-1][0] + 1 == path[-1][1]:
        path = path[:-1]
    if not path:
        return None
    choice, count = path[-1]
    return [*path[:-1], (choice + 1, count)]


class ControlledWorld:
    """A log, a hub, and the steps that may come next."""

    def __init__(self, path):
        self.path = []  # of choices, made so far
        self.story = []  # their names
        self.breaths = 0  # how often two steps may come in one turn of the loop
        self._chosen = [choice for choice, _count in path]
        self._actors = []  # lists of the steps that each has before it
        self._waiting = []  # functions: the steps that end a wait, as it is now
        self.tasks = []  # that were begun by steps
        self.log = [message(1), message(2)]
        self.hub = Hub()
        self.is_lively = False  # in a set-up nothing waits
        self.has_end = True
        self._is_still = False  # nothing happens but that time goes by

    def control(self, monkeypatch):
        """Stand between the hub and what it waits for."""
        for module in (hub, feeds):
            monkeypatch.setattr(module, "run_in_database", self.read)
        monkeypatch.setattr(hub.asyncio, "sleep", self.sleep)

    # What the hub asks ----------------------------------------------------------------

    async def read(self, query, *args):
        """A query's answer: the log as it was at some moment since it was asked."""
        asked = len(self.log)

        def answers():
            for seen in range(asked, len(self.log) + 1):
                name = f"{query.__name__}{args} sees {seen}"
                yield name, partial(ANSWERS[query], self.log[:seen], *args)

        return await self._wait(answers)

    async def sleep(self, seconds):
        """It ends after something else has happened (before, it changes nothing), or
        when nothing else can happen any more."""
        if seconds == 0 or not self.is_lively:
            return await _sleep(0)
        began = len(self.story)

        def over():
            may_end = self._is_still or len(self.story) > began
            return [("it is later", lambda: None)] if may_end else []

        return await self._wait(over)

    async def join(self, socket, cursor):
        await replayed(self.hub.join(socket, ROOM, cursor), socket)

    async def take_frame(self, name):
        return await self._wait(lambda: [(f"{name}'s line goes on", lambda: None)])

    async def _wait(self, answers):
        if not self.is_lively:
            return list(answers())[0][1]()
        done = asyncio.get_running_loop().create_future()

        def steps():
            for name, answer in answers():
                yield name, partial(self._resume, steps, done, answer)

        self._waiting.append(steps)
        return await done

    def _resume(self, steps, done, answer):
        self._waiting.remove(steps)
        done.set_result(answer())

    # What happens ---------------------------------------------------------------------

    def actor(self, *steps):
        """Somebody who does this in turn, while others do something else."""
        self._actors.append(list(steps))

    def commit(self, record):
        """… with the number that comes next; news of it are another step."""
        self.log.append(record(len(self.log) + 1))
        return self.log[-1]

    def local(self, record):
        """The steps of a writer in this process."""
        written = []
        return (
            ("a commits", lambda: written.append(self.commit(record))),
            ("a is told", lambda: self.hub.grown(ROOM, EPOCH, written)),
        )

    def foreign(self, record, *, is_lost=False, has_records=True):
        """The steps of a writer in another process, whose hint may be lost."""
        written = []

        def hint():
            records = [list(one) for one in written] if has_records else []
            last = written[-1].seq
            news = {"room": ROOM, "epoch": EPOCH, "last": last, "records": records}
            self.hub._hint(news)

        commits = ("b commits", lambda: written.append(self.commit(record)))
        return (commits,) if is_lost else (commits, ("b's hint comes", hint))

    def poll(self):
        return (("poll", lambda: self._start(self.hub._compare_heads())),)

    def joiner(self, socket, cursor):
        """The steps of somebody who arrives: the head is read under the room's lock,
        and all the rest comes later. Who is no member by then is refused. ("head": the
        page has seen all that there is, elsewhere.)"""

        def join():
            if socket.entry:
                after = None if socket.start is None else Cursor(EPOCH, socket.start)
                self._start(self.join(socket, after))

        return ("arrive", partial(self.arrive, socket, cursor)), ("join", join)

    def arrive(self, socket, cursor):
        if any(removed_by(one) == socket.user.pk for one in self.log):
            return
        socket.entry = Entry(1, "member", len(self.log), EPOCH)
        socket.start = len(self.log) if cursor == "head" else cursor

    def _start(self, work):
        self.tasks.append(asyncio.ensure_future(work))

    # Time -----------------------------------------------------------------------------

    async def run(self):
        """All of it, in the order that the schedule says, and then by itself."""
        await self.settle()
        self.is_lively = True
        while steps := await self._next_steps():
            if len(self.story) >= MAX_STEPS:
                self.has_end = False
                return
            name, step = steps[self._choose(len(steps))]
            self.story.append(name)
            step()
            if self.breaths and self._choose(2):
                self.breaths -= 1
                self.story.append("and at once")
            else:
                await self.settle()

    async def _next_steps(self):
        if not self._steps():
            await self.settle()
        for self._is_still in (False, True):
            if steps := self._steps():
                break
        return steps

    def _steps(self):
        of_actors = [
            (steps[0][0], lambda steps=steps: steps.pop(0)[1]())
            for steps in self._actors
            if steps
        ]
        return of_actors + [step for steps in self._waiting for step in steps()]

    def _choose(self, count):
        nth = len(self.path)
        choice = self._chosen[nth] if nth < len(self._chosen) else 0
        self.path.append((choice, count))
        return choice

    async def settle(self):
        """Until the loop has nothing to do, by its own list: no time is guessed."""
        loop = asyncio.get_running_loop()
        await _sleep(0)
        while loop._ready:
            await _sleep(0)

    async def find_the_rest(self):
        """The next poll, with nothing that delays it."""
        self.is_lively = False
        await self.hub._compare_heads()
        await self.settle()

    async def end(self):
        for feed in self.hub.feeds.values():
            feed.stop()
        for task in self.tasks:
            task.cancel()
        await self.settle()


async def make_feed(room, rings=None):
    """A feed of the room, as a hub opens it."""
    opened = await sync_to_async(history.opening)(room.pk)
    return Feed(room.pk, *opened, rings or Rings())


async def replayed(joining, socket, feed=None):
    """Do as a consumer does: join, then have what was missed replayed."""
    seen = await joining
    if seen is not None:
        await (feed or socket.feed).replay(socket, seen)


class Received:
    """What came to a stand-in for a socket: `received`, a list of frames."""

    def of_type(self, kind):
        return [frame for frame in self.received if frame["type"] == kind]

    @property
    def seqs(self):
        events = [frame["events"] for frame in self.of_type("events")]
        return [event["seq"] for batch in events for event in batch]


class SocketDouble(Received):
    """Stands where a socket stands; its line takes frames when the schedule says so."""

    def __init__(self, world, user, name, *, waits=()):
        self.world, self.user, self.name = world, user, name
        self.session_hash = name
        self.waits = waits  # the names of those of its methods that take time
        self.entry = self.start = None
        self.feed = self.frames = self.closed = None
        self.received = []
        world.hub.enroll(self)

    async def deliver(self, frame):
        if self.closed is None:
            self.received.append(orjson.loads(frame))
        if "deliver" in self.waits:
            await self.world.take_frame(self.name)

    async def ready(self):
        if "ready" in self.waits:
            await self.world.take_frame(self.name)
        return self.closed is None

    async def close_with(self, code, detail):
        self.closed = self.closed or int(code)
        self.world.hub.leave(self)

    @property
    def first(self):
        """The number that has to come first, if any came."""
        if resets := self.of_type("reset"):
            return resets[-1]["head"] + 1
        if self.start is not None:
            return self.start + 1
        welcomes = self.of_type("welcome")
        return welcomes[0]["head"] + 1 if welcomes else None


def message(seq):
    return Record(seq, "message", orjson.dumps({"seq": seq, "kind": "message"}))


def kick(seq):
    """Bob is put out."""
    event = {"seq": seq, "kind": "kick", "target": {"id": BOB.pk}}
    return Record(seq, "kick", orjson.dumps(event))


# The queries, of a log that is a list -------------------------------------------------


def _records(log, room_id, first, last):
    return log[max(0, first - 1) : last]


def _growth(log, room_id, first, last):
    return EPOCH, _records(log, room_id, first, last)


def _opening(log, room_id):
    facts = {"slug": "lobby", "topic": ""}
    start = Snapshot(EPOCH, len(log), 1, facts, [])
    return start, log[len(log) - ring.RING :] if ring.RING else []


def _heads(log, room_ids):
    return EPOCH, {room_id: len(log) for room_id in room_ids}


ANSWERS = {
    history.records: _records,
    history.growth: _growth,
    history.opening: _opening,
    history.heads: _heads,
}
