"""Small plays for seeded bugs: a few people on one or two servers, and the one fault
that shows the bug. They are told and judged as the long runs are."""

import asyncio
import random
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import psutil
import psycopg
from django.db import connection

from tests.lab.faults import final, logs
from tests.lab.faults.history import History
from tests.lab.faults.load import secret_of
from tests.lab.faults.page import SimulatedPage, SimulatedPerson, digest

SOON = 20  # seconds, on a machine that has much else to do
WITHIN = 5  # seconds, for a sound server to get well
SCENES: dict[str, "Scene"] = {}
EVERYBODY = ("alice", "bob", "carol")
STALLED = 40  # tabs
BESIDE = "-beside"  # ends the name of a second room, of the same people
SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_start > %s
    AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_start > %s
    AND pid <> pg_backend_pid()
"""
# A restore, as far as the log goes: it is as it was when the backup was made, has a new
# epoch, and no server goes on as if nothing had happened.
RESTORE = """
    SELECT FROM rooms_head WHERE room_id = %(room)s FOR UPDATE;
    DELETE FROM messaging_message USING rooms_event AS event
    WHERE event_id = event.id AND room_id = %(room)s AND seq > %(head)s;
    DELETE FROM rooms_event WHERE room_id = %(room)s AND seq > %(head)s;
    UPDATE rooms_head SET seq = %(head)s WHERE room_id = %(room)s;
    UPDATE rooms_installation SET epoch = md5(epoch);
    UPDATE rooms_node SET stopped_at = now() WHERE stopped_at IS NULL;
"""


class Scene(NamedTuple):
    play: Callable
    servers: int


def scene(bug, servers=1):
    def register(play):
        SCENES[bug] = Scene(play, servers)
        return play

    return register


class SceneSite:
    """One server, as `SimulatedPerson` wants to know it; `lines` are ports by name."""

    scheme, transport = "http", None

    def __init__(self, server, made, **lines):
        self.host = server.url.partition("://")[2]
        self.origin, self.ws_origin = server.url, server.ws_url
        self.people = made["people"]
        self.cookie, self.csrf_cookie = made["cookie"], made["csrf_cookie"]
        self.ports = {"good": server.port, **lines}


def ask(database, query, values=None):
    with psycopg.connect(**database, autocommit=True) as line:
        cursor = line.execute(query, values)
        return cursor.fetchall() if cursor.description else []


class Backdrop:
    """What all scenes share: servers, Redis, a line that can be hurt, the database.

    Whose session is older than `began` is none of the servers: a test's own.
    """

    def __init__(self, servers, redis, lines, database, began):
        self.began = began
        self.servers = servers
        self.redis = redis
        self.lines = lines
        self.database = database  # of a superuser

    def sql(self, query, values=None):
        return ask(self.database, query, values)

    def restore(self, values):
        with psycopg.connect(**self.database) as line:
            psycopg.ClientCursor(line).execute(RESTORE, values)


class Play:
    """One scene as it is played, in a room of its own, by people of its own."""

    def __init__(self, stage, made, slug, history):
        self.stage, self.made = stage, made
        self.slug, self.history = slug, history
        self.redis, self.lines = stage.redis, stage.lines
        self.pages, self.tasks = {}, {}
        self.said = self.faults = 0
        self.heads = None

    # Pages ----------------------------------------------------------------------------

    async def enter(self, name, server=0, line="good", tab="", room=""):
        """Open somebody's page of the room, or of that BESIDE it; it, when it is
        live."""
        server = self.stage.servers[server]
        lines = {}
        if line == "bad":
            target = ("127.0.0.1", server.port)
            lines[line] = self.lines.add(f"{self.slug} {name}", target)
        site = SceneSite(server, self.made, **lines)
        person = SimulatedPerson(site, f"{name}-{self.slug}", line)
        name = person.name + tab + room
        rng = random.Random(name)
        self.pages[name] = page = SimulatedPage(
            name, person, self.slug + room, self.history, rng
        )
        self.tasks[name] = asyncio.create_task(page.run())
        await self.until(lambda: page.is_live)
        return page

    async def until(self, is_so, seconds=SOON):
        async with asyncio.timeout(seconds):
            while not is_so():
                await asyncio.sleep(0.02)

    def say(self, page, text="", times=1):
        for _nth in range(times):
            self.said += 1
            key = f"{self.slug}-{self.said}"
            body = f"{key} {secret_of(self.slug)} {text}"
            name = page.person.name
            page.tell("invoke", op="send", key=key, body=digest(body), user=name)
            page.outbox.add(key, body)

    async def acked(self, *pages):
        """Wait until everything said on the pages has been acknowledged."""
        await self.until(lambda: not any(len(page.outbox) for page in pages))

    async def close(self, *pages):
        """Close pages for good."""
        tasks = [self.tasks.pop(page.name) for page in pages]
        for page, task in zip(pages, tasks, strict=True):
            del self.pages[page.name]
            page.drop()  # no farewell, for which one who stalls would wait
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for page in pages:
            await page.person.http.aclose()

    # What hurts -----------------------------------------------------------------------

    @asynccontextmanager
    async def fault(self, name, clients=()):
        self.faults += 1
        names = [page.person.name for page in clients]
        self.history.tell("fault", number=self.faults, name=name, clients=names)
        yield
        self.history.tell("healed", number=self.faults, name=name)

    def hurt(self, page, mode):
        self.lines.change(f"{self.slug} {page.person.name.split('-')[0]}", mode)

    def break_line(self, page):
        self.lines.reset(f"{self.slug} {page.person.name.split('-')[0]}")

    async def do(self, function, *args):
        return await asyncio.to_thread(function, *args)

    async def terminate_sessions(self):
        await self.do(self.stage.sql, TERMINATE, [self.stage.began])

    async def is_gone(self, name):
        """Whether the database says that they are not in the room any more."""
        query = """
            SELECT 1 FROM rooms_visit JOIN accounts_user ON accounts_user.id = user_id
            WHERE username = %s AND NOT settled
        """
        return not await self.do(self.stage.sql, query, [f"{name}-{self.slug}"])

    async def sample_sessions(self):
        count = await self.do(self.stage.sql, SESSIONS, [self.stage.began])
        self.history.tell("sample", process="postgres", sessions=count[0][0])

    def sample(self):
        for nth, server in enumerate(self.stage.servers):
            with suppress(psutil.Error):
                rss = psutil.Process(server.process.pid).memory_info().rss
                self.history.tell("sample", process=f"daphne-{nth}", rss=rss)

    # From the beginning to the end ----------------------------------------------------

    async def run(self, play):
        rooms = rooms_of(self.slug)
        secrets = {slug: secret_of(slug) for slug in rooms}
        self.history.tell("members", rooms=rooms, secrets=secrets, daphnes=1)
        try:
            await play(self)
            self.history.tell("hush")
            await self._settle()
            self.history.tell("settled")
            await self._tell_the_end()
        finally:
            await self.close(*self.pages.values())

    async def _settle(self):
        """Until all is well again, or for as long as a sound server would need."""
        pages = self.pages.values()
        with suppress(TimeoutError):
            await self.until(
                lambda: (
                    all(
                        page.is_live and page.is_whole and not len(page.outbox)
                        for page in pages
                    )
                    and len({(page.slug, page.epoch, page.last) for page in pages})
                    == len({page.slug for page in pages})
                ),
                seconds=WITHIN,
            )

    async def _tell_the_end(self):
        dump = await self.dump("end")
        pages = [page for page in self.pages.values() if page.slug == self.slug]
        here = {page.person.name for page in pages if page.is_live}
        self.history.tell("present", rooms={self.slug: sorted(here)})
        members = dump["rooms"][self.slug]["members"]
        await asyncio.gather(
            *(
                final.tell_state(page, page.person.name in members)
                for page in self.pages.values()
            )
        )
        for nth, server in enumerate(self.stage.servers):
            logs.tell_of(f"daphne-{nth}", server, self.history)

    async def dump(self, why):
        found = await self.do(_dump)
        found["rooms"] = {self.slug: found["rooms"][self.slug]}
        # Other scenes have left their rooms as their bugs made them.
        found["check_log"] = [f for f in found["check_log"] if f[0] == self.slug]
        self.history.tell("dump", why=why, **found)
        return found


def rooms_of(slug):
    """{slug: [names]} of a scene."""
    people = [f"{name}-{slug}" for name in EVERYBODY]
    return {slug: people, slug + BESIDE: people}


def _dump():
    try:
        return final._dump()
    finally:
        connection.close()


def perform(bug, stage, made, slug, path):
    """Play the scene of a bug; its history goes to `path`."""
    history = History(path)
    try:
        asyncio.run(Play(stage, made, slug, history).run(SCENES[bug].play))
    finally:
        history.close()


# The scenes -------------------------------------------------------------------------


@scene("ack before commit")
async def sessions_end_after_an_ack(play):
    alice, _bob = await play.enter("alice"), await play.enter("bob")
    async with play.fault("N7"):
        play.say(alice)
        await play.acked(alice)
        await play.terminate_sessions()
    play.say(alice)
    await play.acked(alice)


@scene("number from a sequence")
async def sessions_end_before_a_commit(play):
    alice = await play.enter("alice")
    play.say(alice)
    await play.acked(alice)
    async with play.fault("N7"):
        play.say(alice)
        await asyncio.sleep(0.2)
        await play.terminate_sessions()
    with suppress(TimeoutError):
        await play.acked(alice)


@scene("numbers reserved in blocks", servers=2)
async def two_talk_by_turns(play):
    alice, bob = await play.enter("alice"), await play.enter("bob", server=1)
    for page in (alice, bob, alice):
        play.say(page)
        await play.acked(page)


@scene("an echo of each message")
async def somebody_talks(play):
    alice, _bob = await play.enter("alice"), await play.enter("bob")
    play.say(alice, times=2)
    await play.acked(alice)


@scene("frames for all rooms")
async def two_rooms_talk(play):
    alice, _bob = await play.enter("alice"), await play.enter("bob", room=BESIDE)
    play.say(alice, times=2)
    await play.acked(alice)


@scene("an exception that nobody catches")
async def two_talk(play):
    alice, bob = await play.enter("alice"), await play.enter("bob")
    play.say(alice)
    play.say(bob)
    await play.acked(alice, bob)


@scene("a database session for each socket")
async def many_come(play):
    await play.enter("alice")
    for nth in range(STALLED):
        await play.enter("carol", tab=f"-{nth}")
    await play.sample_sessions()


@scene("no look at keys")
async def an_ack_is_lost(play):
    alice, bob = await play.enter("alice", line="bad"), await play.enter("bob")
    async with play.fault("N19b", [alice]):
        play.hurt(alice, "half-open")
        before = bob.last
        play.say(alice)
        await play.until(lambda: bob.last > before)
        play.break_line(alice)
        play.hurt(alice, "pass")
    await play.acked(alice)


@scene("membership before the lock")
async def a_kick_meets_a_message(play):
    alice, bob = await play.enter("alice"), await play.enter("bob")
    play.say(bob)
    await asyncio.sleep(0.15)
    await alice.act("kick", user=bob.person.name)
    await play.until(lambda: not bob.is_live)


@scene("no epoch")
async def a_backup_is_restored(play):
    alice, bob = await play.enter("alice"), await play.enter("bob")
    play.say(alice, times=2)
    await play.acked(alice)
    heads = {play.slug: alice.last}
    play.history.tell("backup", name="one", epoch=alice.epoch, heads=heads)
    play.say(bob, times=3)
    await play.acked(bob)
    await play.until(lambda: alice.last == bob.last)
    async with play.fault("N23"):
        old = await play.dump("restore")
        play.history.tell("restore", name="one", epoch=old["epoch"], heads=heads)
        values = {"room": play.made["rooms"][play.slug], "head": heads[play.slug]}
        await play.do(play.stage.restore, values)
        epoch = await play.do(play.stage.sql, "SELECT epoch FROM rooms_installation")
        play.history.tell("restored", name="one", epoch=epoch[0][0])
        with suppress(TimeoutError):
            pages = (alice, bob)
            new = epoch[0][0]
            await play.until(
                lambda: all(p.epoch == new != old["epoch"] for p in pages), 4
            )
    play.say(alice, times=2)
    await play.acked(alice)


@scene("trust in hints", servers=2)
async def redis_dies(play):
    alice, bob = await play.enter("alice"), await play.enter("bob", server=1)
    play.say(alice)
    await play.until(lambda: bob.last >= alice.last)
    async with play.fault("N11"):
        await play.do(play.redis.kill)
        play.say(alice, times=2)
        await play.acked(alice)
        await play.do(play.redis.start)


@scene("replay off by one")
async def a_line_breaks(play):
    alice, bob = await play.enter("alice"), await play.enter("bob", line="bad")
    play.say(alice)
    await play.acked(alice)
    async with play.fault("N19", [bob]):
        play.hurt(bob, "reset")
        await play.until(lambda: not bob.is_live)
        play.say(alice, times=3)
        await play.acked(alice)
        play.hurt(bob, "pass")


@scene("stale members")
async def somebody_is_put_out(play):
    alice, bob = await play.enter("alice"), await play.enter("bob")
    await alice.act("kick", user=bob.person.name)
    play.say(alice, times=2)
    await play.acked(alice)
    await play.until(lambda: bob.last >= alice.last or not bob.is_live)


@scene("unbounded buffer")
async def many_stall(play):
    alice, bob, carol = [await play.enter(name) for name in EVERYBODY]
    tabs = [await play.enter("carol", tab=f"-{nth}") for nth in range(STALLED)]
    play.sample()
    play.history.tell("baseline")
    async with play.fault("N19f", [carol]):
        for tab in tabs:
            tab.stall()
        due = alice.last + 2 * 80
        for page in (alice, bob):
            play.say(page, "\N{GRINNING FACE}" * 7_900, times=80)
        await play.acked(alice, bob)
        await play.until(lambda: min(alice.last, bob.last) >= due)
        play.sample()  # what was sent to others is held for the tabs now
        await play.close(*tabs)


@scene("blocking publish")
async def redis_hangs(play):
    alice, _bob = await play.enter("alice"), await play.enter("bob")
    async with play.fault("N12"):
        await play.do(play.redis.pause)
        play.say(alice, times=2)
        await play.acked(alice)
        await play.do(play.redis.resume)


@scene("presence by the local clock", servers=2)
async def a_server_dies(play):
    await play.enter("alice")
    bob = await play.enter("bob", server=1)
    await asyncio.sleep(2)  # some beats of its heart
    async with play.fault("its only client goes, too", [bob]):
        await play.do(play.stage.servers[1].kill)
        await play.close(bob)
        with suppress(TimeoutError):
            async with asyncio.timeout(12):
                while not await play.is_gone("bob"):
                    await asyncio.sleep(0.2)


@scene("no fencing", servers=2)
async def a_server_freezes(play):
    alice, bob = await play.enter("alice"), await play.enter("bob", server=1)
    async with play.fault("N3", [bob]):
        await play.do(play.stage.servers[1].pause)
        for _second in range(5):
            play.say(alice)
            await asyncio.sleep(1)
        await play.do(play.stage.servers[1].resume)
        await asyncio.sleep(1)
