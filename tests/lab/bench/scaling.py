"""From what one process costs to what a crowd costs: python -m tests.lab.bench.scaling

`model` is arithmetic on the measured constants. `simulate` plays the same constants
out: one event loop that reads, writes batches and fans out with a rest, as
messaging/writing/ and messaging/live/ do. Where the two agree, and agree with the
benchmark, the model may be believed a little beyond it.
"""

import heapq
import math
import random
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Of one server process, in seconds and bytes; docs/SCALING.md says from where."""

    transaction: float = 0.006  # one batch: lock, rights, keys, store, commit
    draft: float = 0.00008  # each message more in a batch, with its rendering
    read: float = 0.00015  # a frame from a browser: parse, queue, answer
    write: float = 0.00001  # a frame to one socket, whatever is in it
    event: float = 0.0000002  # each event more in that frame (280 bytes)
    socket_bytes: int = 36_000  # an idle socket
    base_bytes: int = 110_000_000
    rest_factor: float = 2.0
    longest_rest: float = 0.02
    highest_load: float = 0.6  # of one core, at which we stop filling a process


MEASURED = Costs()


@dataclass(frozen=True)
class Audience:
    """People online, each in one room they look at, and how much they say."""

    online: int
    room: int = 50  # people in the same room
    said: float = 0.5  # messages a person and minute

    @property
    def messages(self):
        return self.online * self.said / 60

    @property
    def deliveries(self):
        return self.messages * self.room


def model(crowd, costs=MEASURED):
    """What a crowd takes: {name: number}."""
    rate_per_room = crowd.room * crowd.said / 60
    # Below saturation a room's events rarely meet: each is a frame to all its sockets.
    per_message = costs.read + costs.draft + crowd.room * (costs.write + costs.event)
    by_work = crowd.messages * per_message / costs.highest_load
    by_memory = crowd.online * costs.socket_bytes / 4e9
    processes = max(1, math.ceil(max(by_work, by_memory)))
    batches = min(crowd.messages, processes / costs.transaction)
    spread = min(processes, crowd.room)
    return {
        "online": crowd.online,
        "messages_s": crowd.messages,
        "deliveries_s": crowd.deliveries,
        "room_rate_s": rate_per_room,
        "processes": processes,
        "memory_gb": (crowd.online * costs.socket_bytes + processes * costs.base_bytes)
        / 1e9,
        "transactions_s": batches,
        "redis_publishes_s": crowd.messages,
        "redis_deliveries_s": crowd.messages * (spread - 1),
        "redis_hashed_s": 0.0,
        "log_rows_day": crowd.messages * 86_400 * 0.3,
    }


def simulate(sockets, rate, seconds=20, costs=MEASURED, seed=1):
    """One room on one process: {p50, p99} of a delivery in ms, and the loop's load."""
    dice = random.Random(seed)
    arrivals, now = [], 0.0
    while now < seconds:
        now += dice.expovariate(rate)
        arrivals.append(now)
    loop = Loop(costs, sockets)
    delays = loop.play(arrivals)
    return {
        "p50": 1000 * statistics.median(delays),
        "p99": 1000 * sorted(delays)[len(delays) * 99 // 100],
        "load": loop.busy / max(loop.now, seconds),
    }


class Loop:
    """One event loop (one thing at a time), and the database thread beside it."""

    def __init__(self, costs, sockets):
        self.costs, self.sockets = costs, sockets
        self.now = self.busy = 0.0
        self._waiting, self._committed = [], []
        self._writing = False
        self._resting_until = 0.0

    def play(self, arrivals):
        """Deliver all; the delay of each, in seconds."""
        events = [(at, number, "read", at) for number, at in enumerate(arrivals)]
        heapq.heapify(events)
        delays, count = [], len(events)
        while events:
            at, _number, kind, payload = heapq.heappop(events)
            self.now = max(self.now, at)
            if kind == "read":
                self._work(self.costs.read)
                self._waiting.append(payload)
            elif kind == "written":
                self._writing = False
                self._committed += payload
            if self._waiting and not self._writing:
                batch, self._waiting = self._waiting[:200], self._waiting[200:]
                self._writing = True
                took = self.costs.transaction + self.costs.draft * len(batch)
                count += 1
                heapq.heappush(events, (self.now + took, count, "written", batch))
            if self._committed and self.now >= self._resting_until:
                delays += self._fan_out()
            elif self._committed:
                count += 1
                heapq.heappush(events, (self._resting_until, count, "wake", None))
        return delays

    def _fan_out(self):
        batch, self._committed = self._committed, []
        each = self.costs.write + self.costs.event * len(batch)
        began = self.now
        self._work(self.sockets * each)
        took = self.now - began
        rest = min(self.costs.rest_factor * took, self.costs.longest_rest)
        self._resting_until = self.now + rest
        # The sockets are written to one after another; a reader is in the middle.
        return [began + took / 2 - at for at in batch]

    def _work(self, seconds):
        self.now += seconds
        self.busy += seconds


def tables():
    """The two tables of docs/SCALING.md, as text."""
    lines = ["| one room of 500 | p50 | p99 | load |", "|---|---:|---:|---:|"]
    for rate in (50, 200, 500, 1000, 2000, 3000):
        seen = simulate(500, rate)
        lines.append(
            f"| {rate:,}/s | {seen['p50']:.0f} ms | {seen['p99']:.0f} ms |"
            f" {100 * seen['load']:.0f} % |"
        )
    lines += ["", "| online | messages/s | deliveries/s | processes | memory |"]
    lines[-1] += " transactions/s | Redis: published/s | received/s | log rows a day |"
    lines.append("|---|" + "---:|" * 8)
    for online in (1_000, 10_000, 100_000, 1_000_000):
        row = model(Audience(online))
        lines.append(
            f"| {online:,} | {row['messages_s']:,.0f} | {row['deliveries_s']:,.0f} |"
            f" {row['processes']:,} | {row['memory_gb']:.1f} GB |"
            f" {row['transactions_s']:,.0f} | {row['redis_publishes_s']:,.0f} |"
            f" {row['redis_deliveries_s']:,.0f} | {row['log_rows_day']:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
