"""A crowd that comes and goes for some time, and what the server keeps of it."""

import asyncio
import random
import time
from collections import Counter

from asgiref.sync import sync_to_async

from accounts.models import User
from tests.lab.soak.stays import Visitor, furnish
from tests.support import resource_usage

PEOPLE, ROOMS = 12, 4
WARM_UP = 1 / 4  # of the time; after it memory should not grow
LOOK_EVERY = 2.0  # seconds
SETTLES_WITHIN = 60.0  # seconds: the grace of a leave, and what idle rooms are kept
LAST_LONGER = ("unsettled visits", "feeds")  # a while after the last has gone
# What may be more in the end than at first: these are kept for the next who asks.
KEPT = {"threads": 3, "database sessions": 3, "descriptors": 6, "tasks": 2}


class Churn:
    """`seconds` of coming and going on `server`, which is an InstrumentedServer."""

    def __init__(self, server, seconds, seed):
        self.server, self.seconds, self.seed = server, seconds, seed
        self.memory = []  # (connections, bytes resident)
        self.stays = Counter()

    async def run(self):
        """Returns when all has settled; AssertionError if it does not."""
        self.visitors = await sync_to_async(self._invite)()
        self.log_before = self.server.log
        await self._everything_once()
        self.before = await self._settled(resource_usage.OF_VISITORS)
        await self._let_them_come()
        self.after = await self._settled(
            LAST_LONGER + resource_usage.OF_VISITORS, self.before
        )
        complaints = resource_usage.complaints(
            self.server.log.removeprefix(self.log_before)
        )
        assert not complaints, f"the server's log says: {complaints[:5]}"

    def _invite(self):
        names = [f"visitor{nth}" for nth in range(PEOPLE)]
        users = [User.objects.create(username=name, password="!") for name in names]
        owner = User.objects.create(username="landlady", password="!")
        slugs = furnish(users, owner, ROOMS)
        return [
            Visitor(self.server, user, slugs, f"{self.seed} {user}") for user in users
        ]

    async def _everything_once(self):
        """So that what is made once is no growth."""
        for kind in Visitor.STAYS:
            await asyncio.gather(*(visitor.stay(kind) for visitor in self.visitors))

    async def _let_them_come(self):
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for visitor in self.visitors:
                group.create_task(self._come_and_go(visitor))
            group.create_task(self._watch_memory())

    async def _come_and_go(self, visitor):
        dice = random.Random(f"{self.seed} {visitor.user}")
        while self._left > 0:
            kind = dice.choice(Visitor.STAYS)
            await visitor.stay(kind)
            self.stays[kind.__name__] += 1

    async def _watch_memory(self):
        while self._left > 0:
            self.memory.append((self.connections, resource_usage.memory(self.server)))
            await asyncio.sleep(min(LOOK_EVERY, self.seconds / 20))

    @property
    def _left(self):
        return self.began + self.seconds - time.monotonic()

    @property
    def connections(self):
        return sum(visitor.connections for visitor in self.visitors)

    @property
    def growth(self):
        """Bytes of memory for each connection, after the warm-up."""
        begin = WARM_UP * self.connections
        return resource_usage.slope(
            [point for point in self.memory if point[0] > begin]
        )

    # Settling -------------------------------------------------------------------------

    async def _settled(self, none_of, before=None):
        """(numbers, objects) when everybody has gone: none of these are left, and of
        the others there are no more than before."""
        end = time.monotonic() + SETTLES_WITHIN
        while True:
            numbers, objects = await resource_usage.look(self.server)
            allowed = {} if before is None else _allowed(before[0])
            allowed |= dict.fromkeys(none_of, 0)
            more = {name: numbers[name] - count for name, count in allowed.items()}
            more = {name: count for name, count in more.items() if count > 0}
            if not more:
                return numbers, objects
            assert time.monotonic() < end, f"left over, beside what was before: {more}"
            await asyncio.sleep(0.5)


def _allowed(before):
    return {name: count + KEPT.get(name, 0) for name, count in before.items()}
