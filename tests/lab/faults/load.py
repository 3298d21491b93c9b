"""The load: who sits in which room, what they say, and what else they do.

All of it follows from one seed. Everybody sits in one room, the hot room being full:
with 24 people talking 150 messages a second become some 2,000 deliveries.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress

import httpx

from tests.lab.faults.page import SimulatedPage, SimulatedPerson, digest
from tests.lab.faults.site import CROWD_LINES

ROOMS = [f"room-{number}" for number in range(8)]
HOT = ROOMS[0]
WRITERS, READERS, BAD, STALLED, FLOODERS = 24, 24, 4, 2, 2
SHARE_IN_HOT = 0.5
BACKLOG = 8  # things unsent, with which a person stops talking
WORDS = "so what do you think of it then I would say we had better wait".split()  # noqa: SIM905
LONG = 0.02  # of the messages are long
ACT_EVERY = 2.0  # seconds, about
TWINS, FROZEN = 6, 6  # at a time
LEAVING = 8  # at the end
STALL = 60  # seconds that a stalled reader does not read


def secret_of(slug):
    """What every message of a room carries, and no other room's."""
    return f"secret-{slug}"


def secrets():
    return {slug: secret_of(slug) for slug in ROOMS}


def people_lines():
    """{name of a line people reach the site by: whether it is narrow}."""
    own = [
        f"{role}-{nth}" for role in ("bad", "stalled") for nth in range(roles()[role])
    ]
    return {name: name.startswith("stalled") for name in [*CROWD_LINES, *own]}


def rooms():
    """{slug: [names]}; the first is the owner, who kicks, and has no page."""
    rooms = {slug: [f"owner-of-{slug}"] for slug in ROOMS}
    for role, count in roles().items():
        for number in range(count):
            name = f"{role}-{number}"
            rooms[room_of(role, number)].append(name)
    return rooms


def roles():
    return {
        "writer": WRITERS,
        "reader": READERS,
        "bad": BAD,
        "stalled": STALLED,
        "flooder": FLOODERS,
    }


def room_of(role, number):
    if role == "stalled":
        return HOT  # where much comes in
    if number % 2 == 0:
        return HOT
    return ROOMS[1 + (number // 2) % (len(ROOMS) - 1)]


def bad_weather(rng):
    return rng.choice(
        [
            {"mode": "pass"},
            {"mode": "delay", "delay": 0.3, "jitter": 0.2},
            {"mode": "throttle", "rate": 4096.0},
            {"mode": "drop"},
            {"mode": "half-open", "direction": rng.choice(["up", "down"])},
            {"mode": "cut", "after": rng.randrange(20_000)},
        ]
    )


class Crowd:
    """Everybody; `rate` is how many messages a second they send in all."""

    def __init__(self, site, history, seed, rate):
        self.site, self.history = site, history
        self.seed = seed
        self.rng = random.Random(f"{seed} crowd")
        self.said = self.twins = 0
        self.is_talking = True
        self.pages, self.tabs = [], set()  # the latter: second ones
        self.owners = {}
        for slug in ROOMS:
            owner = SimulatedPerson(site, f"owner-of-{slug}", CROWD_LINES[0])
            self.owners[slug] = self._page(owner, slug)
        self._tasks = []
        people = {role: self._people(role, count) for role, count in roles().items()}
        self.sitting = people["writer"] + people["reader"]
        self.bad = people["bad"]
        self.stalled = people["stalled"]
        self._jobs = [
            *(self._talk(page, rate / WRITERS) for page in people["writer"]),
            *(self._talk(page, 0.5) for page in people["bad"]),
            *(self._weather(page.person.name) for page in people["bad"]),
            *(self._stall(page) for page in people["stalled"]),
            *(self._flood(page) for page in people["flooder"]),
            self._act_now_and_then(),
        ]

    def _people(self, role, count):
        return [self._enter(role, number) for number in range(count)]

    def _enter(self, role, number):
        name = f"{role}-{number}"
        line = name if role in ("bad", "stalled") else self.rng.choice(CROWD_LINES)
        page = self._page(SimulatedPerson(self.site, name, line), room_of(role, number))
        self.pages.append(page)
        return page

    def _page(self, person, slug, suffix=""):
        name = person.name + suffix
        rng = random.Random(self.rng.random())
        return SimulatedPage(name, person, slug, self.history, rng)

    # From the start to the end ----------------------------------------------------

    def start(self):
        """Open all pages; they talk from when they are live."""
        self.open = {page: self._spawn(page.run()) for page in self.pages}
        for job in self._jobs:
            self._spawn(job)

    def _spawn(self, work):
        task = asyncio.create_task(work)
        task.add_done_callback(self._done)
        self._tasks.append(task)
        return task

    def _done(self, task):
        self._tasks.remove(task)
        if not task.cancelled() and task.exception():
            raise task.exception()  # a fault of the harness: the loop's handler tells

    def hush(self):
        """Nobody begins anything new; what is under way goes on. And some close their
        pages, so that it shows who is said to be here and is not."""
        self.is_talking = False
        for page in self.rng.sample(self.sitting, LEAVING):
            self.pages.remove(page)
            self.open[page].cancel()
        for page in self.pages:
            page.wake()
            page.renew()

    async def leave(self):
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_settled(self):
        """All pages are live, have shown what they got, and have nothing unsent."""
        return not self.unsettled()

    def present(self):
        """{slug: [names]} of those who have a live socket."""
        present = {slug: [] for slug in ROOMS}
        for slug, name in sorted(self.sockets()):
            present[slug].append(name)
        return present

    def sockets(self):
        """A Counter of the live sockets: {(slug, name): how many}."""
        pages = [page for page in [*self.pages, *self.tabs] if page.is_live]
        return Counter((page.slug, page.person.name) for page in pages)

    def unsettled(self):
        return {
            page.name: (page.state, page.is_whole, len(page.outbox))
            for page in self.pages
            if not (page.is_live and page.is_whole and not len(page.outbox))
        }

    # What they do -----------------------------------------------------------------

    async def _talk(self, page, rate):
        while True:
            await asyncio.sleep(page.rng.expovariate(rate))
            if self.is_talking and page.is_live and len(page.outbox) < BACKLOG:
                page.outbox.add(*self._invoke(page))

    def _invoke(self, page):
        """Think of something to say: (key, body)."""
        self.said += 1
        key = f"{page.name}-{self.said}"
        words = page.rng.choices(WORDS, k=600 if page.rng.random() < LONG else 12)
        body = f"{key} {secret_of(page.slug)} {' '.join(words)}"
        page.tell(
            "invoke", op="send", key=key, body=digest(body), user=page.person.name
        )
        return key, body

    async def _stall(self, page):
        """Not to read for a minute, then to read, then not again."""
        while True:
            await asyncio.sleep(5)
            if self.is_talking:
                page.stall()
                await asyncio.sleep(STALL)
                page.wake()

    async def _weather(self, line):
        """A bad network: never the same for long, and now and then good."""
        rng = random.Random(f"{self.seed} {line}")
        while True:
            if self.is_talking:
                await asyncio.to_thread(
                    self.site.lines.change, line, **bad_weather(rng)
                )
            await asyncio.sleep(rng.uniform(1, 6))

    async def _flood(self, page):
        """Say far more at once than one may, and now and then go on regardless."""
        while True:
            await asyncio.sleep(page.rng.uniform(2, 8))
            if self.is_talking and page.is_live:
                count = 120 if page.rng.random() < 0.1 else 40
                for _nth in range(count):
                    await page.outbox.shout(*self._invoke(page))

    async def _act_now_and_then(self):
        acts = [self._kick, self._leave, self._sign_out]
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / ACT_EVERY))
            act, page = self.rng.choice(acts), self.rng.choice(self.sitting)
            if self.is_talking and page.is_live and not page.person.lock.locked():
                self._spawn(self._do(act, page))

    async def _do(self, act, page):
        async with page.person.lock:
            with suppress(httpx.HTTPError):
                await act(page)

    async def _kick(self, page):
        await self.owners[page.slug].act("kick", user=page.person.name)

    async def _leave(self, page):
        await page.act("leave")

    async def _sign_out(self, page):
        await page.sign_out()

    # What the nemesis has them do -------------------------------------------------

    def open_twins(self, rng):
        """Some open the room once more, in a second tab; the tabs' tasks."""
        return [self._spawn(self._sit_in_tab(page)) for page in self._some(rng, TWINS)]

    async def _sit_in_tab(self, page):
        self.twins += 1
        tab = self._page(page.person, page.slug, f"-twin-{self.twins}")
        self.tabs.add(tab)
        try:
            await tab.run()
        finally:
            self.tabs.discard(tab)

    def close_twins(self, tasks):
        for task in tasks:
            task.cancel()

    def _some(self, rng, count):
        return rng.sample(self.sitting, count)

    def freeze(self, rng):
        """Some tabs read nothing any more; the pages."""
        pages = self._some(rng, FROZEN)
        for page in pages:
            page.stall()
        return pages

    def thaw(self, pages):
        for page in pages:
            page.wake()
