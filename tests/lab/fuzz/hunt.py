"""The hunt: many sockets that send what the grammar makes, to a real server, and the
promises that are kept an eye on all the while.

A `Finding` is a promise that was broken. Everything is drawn from one seed; only which
socket comes first is left to the machine.
"""

import asyncio
import random
import time
from collections import defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings

from accounts.models import User
from messaging import check_log
from messaging.models import Message
from rooms.models import Membership, Room
from rooms.rights import Role
from tests.lab.bench.stage import Stage, sessions
from tests.lab.fuzz.grammar import Grammar
from tests.lab.fuzz.oracle import CLOSES, OVERLOADED, promise
from tests.lab.fuzz.raw import DIES, LIVES, Scripts
from tests.support import resource_usage
from tests.support.instrumented_server import InstrumentedServer
from tests.support.raw_websocket import BINARY, TEXT, connect, frame

ROOMS = 8
RAW_SOCKETS = 2
FRAMES_A_SCRIPT = 100  # so many frames of talk for each script of raw bytes
WINDOW = 16  # frames of a socket that wait for their answer
PATIENCE = 8.0  # seconds; the server's own for the database is 3
CANARY_EVERY, CANARY_PATIENCE = 0.1, 3.0  # seconds
OF_CANARY = tuple(b'{"type":"%s"' % kind for kind in (b"welcome", b"ack", b"error"))
LOOK_EVERY = 0.25  # seconds between two looks at the server's log and memory
# How a talker comes: without a cursor, with the last one, or with an odd one.
NEW, BACK = "", "?after={seq}&epoch={epoch}"
ODD = ["?after=0", "?after=1&epoch=", "?after=9223372036854775807&epoch=%00"]
BAD_OPENINGS = ["?after=-1", "?after=9223372036854775808", "?after=%00", "?after=1e3"]
ENVIRONMENT = {"FRAMES_PER_SECOND": 60_000}  # of the server that is hunted


@contextmanager
def quarry():
    """The server that is hunted, on a stage of its own where nobody is yet."""
    stage = Stage()
    try:
        call_command("flush", verbosity=0, interactive=False)
        with stage.servers(kind=InstrumentedServer, **ENVIRONMENT) as (server,):
            yield server
    finally:
        stage.close()


class Finding(Exception):
    """A promise is broken. `suspects` are the frames that may have done it, as
    (payload, is_text), the likeliest first; a raw script tells its own story."""

    def __init__(self, what, suspects=()):
        super().__init__(what)
        self.what = what
        self.suspects = list(suspects)


@dataclass(eq=False)
class Attacker:
    """Somebody in a room, and what they must find stored in the end."""

    user: User
    cookie: str
    room: Room
    texts: dict = field(default_factory=lambda: defaultdict(set))  # {key: hashes}
    acked: dict = field(default_factory=dict)  # {key: seq}
    unknown: set = field(default_factory=set)  # keys without a word on their fate

    @property
    def path(self):
        return f"/ws/rooms/{self.room.slug}/"


@dataclass
class Crew:
    """The people of a hunt: talkers, one for raw bytes, and the canary."""

    talkers: list[Attacker]
    raw: Attacker
    canary: Attacker


def muster():
    """Make the people and their rooms (sync): an owner, a moderator, a member each."""
    names = [f"talker{nth}" for nth in range(3 * ROOMS)] + ["raw", "canary"]
    users = [User.objects.create(username=name, password="!") for name in names]
    cookies = [f"{settings.SESSION_COOKIE_NAME}={key}" for key in sessions(users)]
    people = []
    for nth, (user, cookie) in enumerate(zip(users, cookies, strict=True)):
        if nth % 3 == 0:
            room = Room.objects.create_with_owner(f"room{nth // 3}", user)
        else:
            room.admit(user)
        if nth % 3 == 1:
            Membership.objects.filter(room=room, user=user).update(role=Role.MODERATOR)
        people.append(Attacker(user, cookie, room))
    return Crew(people[:-2], *people[-2:])


@override_settings(KICK_SECONDS=0)
def let_in(person):
    """Whom a kick would keep out for longer than a hunt takes."""
    person.room.admit(person.user)


class Hunt:
    """One run of `frames` frames against `server`, an InstrumentedServer."""

    def __init__(self, server, crew, frames, seed):
        self.server, self.crew = server, crew
        self.frames, self.seed = frames, seed
        self.sent = self.scripts = self.kicked = 0
        self.answers = defaultdict(int)  # {what: how often}
        self.closes = defaultdict(int)  # {code: how often}
        self.memory = []  # (frames sent, bytes resident)
        self.waits = []  # seconds the canary waited
        self._log_read = len(server.log)

    async def run(self):
        """Send all frames; raises the first Finding."""
        self.began = time.monotonic()
        talkers = [FrameSender(self, person, nth) for nth, person in self._seats()]
        try:
            async with asyncio.TaskGroup() as watch:
                watchers = [watch.create_task(one()) for one in self._watchers]
                async with asyncio.TaskGroup() as work:
                    for talker in talkers:
                        work.create_task(talker.run())
                    for nth in range(RAW_SOCKETS):
                        work.create_task(self._scribble(nth))
                for watcher in watchers:
                    watcher.cancel()
        except* Finding as group:
            finding = first_of(group)
            for talker in talkers:
                finding.suspects += reversed(talker.recent)
            await asyncio.sleep(LOOK_EVERY)  # for the dropped sockets to close
            raise finding from None
        self.seconds = time.monotonic() - self.began
        await self._settle()

    @property
    def _watchers(self):
        return self._watch_log, self._watch_memory, self._sing

    def _seats(self):
        """(number, person) of each socket: moderators and members have one each, each
        owner has two, which may both use a key."""
        owners = self.crew.talkers[::3]
        return enumerate([*self.crew.talkers, *owners])

    @property
    def frames_a_socket(self):
        return self.frames // len(list(self._seats()))

    # Watching -------------------------------------------------------------------------

    async def _watch_log(self):
        """Nothing that a stranger sends is worth a line in the log."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look_at_log()

    def forget_log(self):
        self._log_read = len(self.server.log)

    def look_at_log(self):
        news = self.server.log[self._log_read :]
        self._log_read += len(news)
        if complaints := resource_usage.complaints(news):
            raise Finding(f"the server's log says: {complaints[:5]}")
        if not self.server.is_running:
            raise Finding("the server is gone")

    async def _watch_memory(self):
        while True:
            self.memory.append((self.sent, resource_usage.memory(self.server)))
            await asyncio.sleep(4 * LOOK_EVERY)

    async def _sing(self):
        """The canary says something all the while; it must be acknowledged in time."""
        heard = asyncio.Queue()

        def hear(opcode, payload):
            if payload.startswith(OF_CANARY):
                heard.put_nowait(payload)

        canary = self.crew.canary
        wire = await connect(self.server.port, canary.path, canary.cookie, hear)
        grammar = Grammar(random.Random(self.seed), "canary")
        try:
            await heard.get()
            while True:
                began = time.monotonic()
                wire.write(frame(grammar.post("I am well").encode()))
                await self._hear_canary(heard)
                self.waits.append(time.monotonic() - began)
                await asyncio.sleep(CANARY_EVERY)
        finally:
            wire.drop()

    async def _hear_canary(self, heard):
        try:
            async with asyncio.timeout(CANARY_PATIENCE):
                answer = await heard.get()
        except TimeoutError:
            raise Finding(f"no ack for another within {CANARY_PATIENCE} s") from None
        if b'"type":"ack"' not in answer:
            raise Finding(f"another was answered {answer.decode()}")

    # Raw bytes ------------------------------------------------------------------------

    async def _scribble(self, nth):
        scripts = Scripts(random.Random(f"{self.seed} raw {nth}"), f"raw{nth}")
        for _nth in range(self.frames // FRAMES_A_SCRIPT // RAW_SOCKETS):
            await self.play(scripts.script())
            await self._knock(scripts.dice.choice(BAD_OPENINGS))

    async def play(self, script):
        """Play a Script on a socket of its own."""
        news, heard = asyncio.Event(), []

        def hear(opcode, payload):
            heard.append(payload)
            news.set()

        person = self.crew.raw
        wire = await connect(self.server.port, person.path, person.cookie, hear)
        try:
            await self._until(
                script, wire, news, lambda: b'"welcome"' in b"".join(heard[:3])
            )
            for chunk in script.chunks:
                wire.write(chunk)
            await self._end(script, wire, news, heard)
        finally:
            wire.drop()
        self.scripts += 1
        self.sent += script.frames

    async def _knock(self, query):
        """A cursor that is none is answered, by a close."""
        path = self.crew.raw.path + query
        wire = await connect(
            self.server.port, path, self.crew.raw.cookie, lambda opcode, payload: None
        )
        try:
            async with asyncio.timeout(PATIENCE):
                code = await wire.closed
        except TimeoutError:
            raise Finding(f"{query} was let in") from None
        finally:
            wire.drop()
        if code != 4403:
            raise Finding(f"{query} was closed with {code}")

    async def _end(self, script, wire, news, heard):
        if script.end == DIES:
            await self._until(script, wire, news, wire.closed.done)
        elif script.end == LIVES:
            wire.write(frame(b'{"type":"post","key":"still-here","body":"/help"}'))
            await self._until(
                script, wire, news, lambda: b"still-here" in b"".join(heard)
            )
        else:
            await asyncio.wait([wire.closed], timeout=0.02)
        if wire.closed.done():
            self.check_close(wire.closed.result(), script)

    async def _until(self, script, wire, news, is_so):
        wire.closed.add_done_callback(lambda _closed: news.set())
        end = time.monotonic() + PATIENCE
        while not is_so():
            if wire.closed.done():
                code = wire.closed.result()
                raise Finding(f"{script}: closed with {code}")
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await news.wait()
            except TimeoutError:
                raise Finding(f"{script} should end so: {script.end}") from None
            news.clear()

    def check_close(self, code, why):
        self.closes[code] += 1
        if code not in CLOSES:
            raise Finding(f"closed with {code}: {why}")

    # In the end -----------------------------------------------------------------------

    async def _settle(self):
        """What must hold when all is over: the log, the texts, nothing left open."""
        self.look_at_log()
        await self._find_none_left()
        faults = await sync_to_async(log_faults)()
        if faults:
            raise Finding(f"check_log: {faults}")
        for person in self.crew.talkers:
            await sync_to_async(check_texts)(person)

    async def _find_none_left(self):
        end = time.monotonic() + PATIENCE
        while True:
            self.at_last, _objects = await resource_usage.look(self.server)
            left = {name: self.at_last[name] for name in resource_usage.OF_VISITORS}
            if not any(left.values()):
                return
            if time.monotonic() > end:
                raise Finding(f"left over when all have gone: {left}")
            await asyncio.sleep(LOOK_EVERY)

    def growth(self):
        """Bytes of memory for each frame, after a warm-up of a third of the run."""
        return resource_usage.slope(
            [at for at in self.memory if at[0] > self.frames / 3]
        )


class FrameSender:
    """One socket of a person: sends frames, many at once, and accounts for each."""

    def __init__(self, hunt, person, number):
        self.hunt, self.person = hunt, person
        self.recent = deque(maxlen=4 * WINDOW)  # (payload, is_text)
        self._dice = random.Random(f"{hunt.seed} {number}")
        names = [other.user.username for other in hunt.crew.talkers]
        near = names[number % len(names) // 3 * 3 :][:3]
        self._grammar = Grammar(self._dice, f"f{number}", near)
        self._left = hunt.frames_a_socket
        self._held = None  # a frame that is sent when others have been answered
        self._moved = asyncio.Event()
        self._fault = None
        self._wire = self._epoch = self._seq = None

    async def run(self):
        while self._left or self._held:
            try:
                await self._open()
                await self._talk()
            finally:
                if self._wire:
                    self._wire.drop()
            await self._come_back()

    async def _open(self):
        self._keyed = defaultdict(deque)  # {key: the promises that wait}
        self._keyless = deque()
        self._waiting = 0
        self._welcomed = False
        query = self._dice.choice(
            [NEW, NEW, *ODD] if self._seq is None else [NEW, BACK]
        )
        self._continues = query == BACK
        query = query.format(seq=self._seq, epoch=self._epoch)
        self._wire = await connect(
            self.hunt.server.port,
            self.person.path + query,
            self.person.cookie,
            self._hear,
        )
        self._wire.closed.add_done_callback(lambda _closed: self._moved.set())
        await self._wait(lambda: self._welcomed)

    async def _talk(self):
        while not self._wire.closed.done():
            self._wire.write(b"".join(self._next_few()))
            if not (self._left or self._held or self._waiting):
                return
            enough = WINDOW // 2 if self._left and not self._held else 0
            await self._wait(lambda enough=enough: self._waiting <= enough)

    def _next_few(self):
        while self._waiting < WINDOW and (self._left or self._held):
            if not self._held:
                self._held = self._grammar.frame()
                self._left -= 1
            due = promise(*self._held)
            # Answers to two that share a key could not be told apart: one waits.
            if any(one.answers != due.answers for one in self._keyed.get(due.key, ())):
                return
            yield self._prepare(due, *self._held)
            self._held = None

    def _prepare(self, due, payload, is_text):
        self.recent.append((payload, is_text))
        if due.answers:
            self._expect(due)
        self.hunt.sent += 1
        return frame(payload, TEXT if is_text else BINARY)

    def _expect(self, due):
        self._waiting += 1
        if due.key is None:
            self._keyless.append(due)
        else:
            self._keyed[due.key].append(due)
            if due.stored is not None:
                self.person.texts[due.key].add(hash(due.stored))

    async def _wait(self, is_so):
        """Until it is so, or the socket is closed."""
        end = time.monotonic() + PATIENCE
        while not (is_so() or self._wire.closed.done() or self._fault):
            self._moved.clear()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._moved.wait()
            except TimeoutError:
                raise Finding(self._unanswered(), reversed(self.recent)) from None
        if self._fault:
            raise Finding(self._fault, reversed(self.recent))

    def _unanswered(self):
        keys = [key for key, waiting in self._keyed.items() if waiting][:3]
        return f"no answer: {keys}, and {len(self._keyless)} without a key"

    async def _come_back(self):
        """After a close: everything unanswered is unknown. Who was kicked is let in."""
        if not (self._left or self._held or self._waiting):
            return
        code = self._wire.closed.result()
        self.hunt.check_close(code, self.person.user)
        self.person.unknown |= {key for key, waiting in self._keyed.items() if waiting}
        if code != 4403:
            raise Finding(f"a talker's socket closed: {code}", reversed(self.recent))
        self.hunt.kicked += 1
        await sync_to_async(let_in)(self.person)

    # What comes -----------------------------------------------------------------------

    def _hear(self, opcode, payload):
        if opcode != TEXT:
            return
        answer = orjson.loads(payload)
        try:
            self._take(answer)
        except AssertionError as error:
            self._fault = self._fault or f"{error}: {payload[:500].decode()}"
        self._moved.set()

    def _take(self, answer):
        match answer["type"]:
            case "welcome":
                self._welcomed, self._epoch = True, answer["epoch"]
                self._seq = self._seq if self._continues else answer["head"]
            case "reset":
                self._seq = answer["head"]
            case "events":
                self._follow([event["seq"] for event in answer["events"]])
            case "ack" | "notice" | "error":
                self._settle(answer)

    def _follow(self, seqs):
        first = self._seq + 1
        assert seqs == list(range(first, first + len(seqs))), "numbers are missing"
        self._seq = seqs[-1]

    def _settle(self, answer):
        what = answer.get("code", answer["type"])
        if what.isdigit():  # the word before a close
            return
        due = self._due(answer.get("key"), what)
        self._waiting -= 1
        self.hunt.answers[what] += 1
        if what == "try_later":
            self.person.unknown.add(due.key)
        if what == "ack" and due.stored is not None:
            seq = self.person.acked.setdefault(due.key, answer["seq"])
            assert seq == answer["seq"], f"acked as {seq} before"

    def _due(self, key, what):
        """The oldest promise that this answer keeps; it waits no longer."""
        waiting = self._keyless if key is None else self._keyed.get(key, ())
        for due in waiting:
            if what in due.answers or (key and what in OVERLOADED):
                waiting.remove(due)
                if not waiting:
                    self._keyed.pop(key, None)
                return due
            if key is None:
                break  # these are answered in order
        raise AssertionError(f"not an answer to any of {list(waiting)[:3]}")


def first_of(group):
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def log_faults():
    return [fault for rule in check_log.RULES for fault in check_log.faults(rule, 3)]


def check_texts(person):
    """What is stored is what was acknowledged, and no more (sync)."""
    rows = Message.objects.filter(author=person.user).values_list(
        "key", "body", "event__seq"
    )
    missing = dict(person.acked)
    for key, body, seq in rows.iterator():
        if hash(body) not in person.texts[key]:
            raise Finding(f"stored, but never said so: {key!r} {body[:200]!r}")
        if missing.pop(key, None) != seq and key not in person.unknown:
            raise Finding(f"stored as {seq}, but not acknowledged so: {key!r}")
    if missing:
        raise Finding(f"acknowledged, but not stored: {list(missing.items())[:5]}")
