"""The fault bench: load, a schedule of faults, and the state in which all ends."""

import asyncio
import random
import sys
import time
from dataclasses import dataclass

import httpx

from tests.lab.faults import final, logs
from tests.lab.faults.history import History
from tests.lab.faults.load import Crowd, people_lines, rooms, secrets
from tests.lab.faults.nemesis import OPERATIONS
from tests.lab.faults.site import DAPHNES, Site

BEGIN = 120  # seconds, within which all must be live
WARM_UP = 60  # seconds, in which buffers fill, and threads start
SAMPLE_EVERY = 2
SETTLE = 30  # seconds after the last heal, within which all must be well again
COMPACT_BELOW = 10  # minutes; shorter runs have shorter faults and rests
FULL = {"backup_age": 60, "gigabytes": 4}  # of what is restored, of the disk
COMPACT = {"backup_age": 5, "gigabytes": 1}
LONG = 20  # seconds; a fault that long is left out of those


@dataclass(frozen=True)
class RunPlan:
    minutes: float
    seed: int
    only: str | None = None
    rate: float = 150  # messages a second
    names: tuple[str, ...] = ()  # each of these once, and nothing else

    @property
    def is_compact(self):
        return self.minutes < COMPACT_BELOW


async def run(plan, folder):
    """Run it; the path of the history."""
    path = folder / "history.jsonl"
    history = History(path)
    measure = COMPACT if plan.is_compact else FULL
    site = Site(folder, plan.seed, history, **measure)
    try:
        await asyncio.to_thread(site.start, people_lines(), rooms())
        async with httpx.AsyncHTTPTransport(verify=False) as transport:
            site.transport = transport
            bench = Bench(plan, site, history)
            try:
                await bench.run()
            finally:
                await bench.crowd.leave()
    finally:
        await asyncio.to_thread(site.stop)
        history.close()
    return path


class Bench:
    def __init__(self, plan, site, history):
        self.plan = plan
        self.site = site
        self.history = history
        self.rng = random.Random(f"{plan.seed} schedule")
        self.crowd = Crowd(site, history, plan.seed, plan.rate)
        self.faults = 0

    async def run(self):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._tell_own_fault)
        self.ends_at = time.monotonic() + 60 * self.plan.minutes
        sampling = asyncio.create_task(self._sample())
        self.site.crowd, self.site.loop = self.crowd, loop
        self.history.tell("members", rooms=rooms(), secrets=secrets(), daphnes=DAPHNES)
        self.crowd.start()
        await self._until_live()
        await asyncio.sleep(8 if self.plan.is_compact else WARM_UP)
        self.history.tell("baseline")
        await self._hurt()
        self.site.heal_all_lines()
        self.crowd.hush()
        self.history.tell("hush")
        await asyncio.sleep(SETTLE)
        if not self.crowd.is_settled:
            say(f"not settled: {self.crowd.unsettled()}")
        if not self.plan.is_compact:
            await asyncio.sleep(SETTLE)  # until what was held has been given back
        sampling.cancel()
        self.history.tell("settled")
        await asyncio.to_thread(self.site.sample)
        await asyncio.to_thread(self.site.look_for_ghosts)
        await final.tell(self.site, self.crowd, self.history)
        logs.tell(self.site, self.history)

    def _tell_own_fault(self, loop, context):
        """A page that breaks off would hide what it should have seen."""
        line = f"{context['message']}: {context.get('exception')!r}"
        say(line)
        self.site.complain(line)

    async def _until_live(self):
        async with asyncio.timeout(BEGIN):
            while not all(page.is_live for page in self.crowd.sitting):
                await asyncio.sleep(0.1)

    async def _sample(self):
        while True:
            await asyncio.to_thread(self.site.sample)
            await asyncio.sleep(SAMPLE_EVERY)

    # The schedule -----------------------------------------------------------------

    async def _hurt(self):
        for names in self._schedule():
            if time.monotonic() > self.ends_at - SETTLE:
                break
            seconds = [self._seconds(OPERATIONS[name]) for name in names]
            say(f"{' + '.join(names)} for {max(seconds):.0f} s")
            works = zip(names, seconds, strict=True)
            await asyncio.gather(*(self._inflict(*work) for work in works))
            await asyncio.sleep(self._calm(is_alone=len(names) == 1))

    def _schedule(self):
        """Each operation alone, then pairs, for ever: tuples of names."""
        wanted = self.plan.names or OPERATIONS
        possible = [name for name in wanted if self._is_possible(OPERATIONS[name])]
        while self.plan.only:
            yield (self.plan.only,)
        yield from ((name,) for name in possible)
        while not self.plan.names:
            yield self._pair(possible)

    def _is_possible(self, operation):
        takes_too_long = self.plan.is_compact and operation.seconds[0] > LONG
        has_all = operation.needs is None or operation.needs in self.site.has
        return has_all and not takes_too_long

    def _pair(self, names):
        weights = [OPERATIONS[name].weight for name in names]
        while True:
            one, other = self.rng.choices(names, weights, k=2)
            if OPERATIONS[one].goes_with(OPERATIONS[other]):
                return one, other

    def _seconds(self, operation):
        shortest, longest = operation.seconds
        if self.plan.is_compact:
            return shortest
        return self.rng.uniform(shortest, longest)

    def _calm(self, is_alone):
        if self.plan.is_compact:
            return self.rng.uniform(1, 2)
        return self.rng.uniform(6, 9) if is_alone else self.rng.uniform(3, 6)

    async def _inflict(self, name, seconds):
        self.faults += 1
        rng = random.Random(f"{self.plan.seed} {self.faults} {name}")
        work = asyncio.to_thread(self._hurt_and_heal, self.faults, name, seconds, rng)
        try:
            await work
        except Exception as error:  # one that cannot be healed is a finding, too
            line = f"{name} was not healed: {error!r} {getattr(error, 'stderr', '')}"
            say(line)
            self.site.complain(line)
            await asyncio.to_thread(self.site.revive)

    def _hurt_and_heal(self, number, name, seconds, rng):
        operation = OPERATIONS[name]
        with operation.hurt(self.site, rng) as facts:
            do = facts.pop("do", None)
            self.history.tell("fault", number=number, name=name, **facts)
            if do:
                do()
            time.sleep(seconds)
            self.history.tell("heal", number=number, name=name)
        self.history.tell("healed", number=number, name=name)


def say(sentence):
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)
