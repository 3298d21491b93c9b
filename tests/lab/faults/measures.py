"""The numbers of a run: how long things took, and how much of everything there was."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from functools import cached_property
from statistics import median

from tests.lab.faults.index import NS

STEP = 5  # seconds of the timeline
# People whose lines the load itself hurts all the time, faults or not: what they lose
# counts as everybody's, but how long they wait says nothing of the system.
WEAK = ("bad-", "stalled-")
ABNORMAL = 4000  # close codes from here on mean something; below, the line was lost
CLOSED_BY_PERSON = 1000


def p99(seconds):
    ordered = sorted(seconds)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0.0


def is_weak(user):
    return user.startswith(WEAK)


class Measures:
    """Of a Run, and of people with good lines. Times are in seconds; those of a fault
    are by its number."""

    def __init__(self, run):
        self.run = run
        self._faults = sorted(run.faults.values(), key=lambda fault: fault.start)
        self._starts = [fault.start for fault in self._faults]
        self.acks, self.delays = array("d"), array("d")
        self.waits_in = defaultdict(list)  # for an answer, whichever
        self.acks_in = defaultdict(list)  # [(seconds, user)]
        self.delays_in = defaultdict(list)
        self._time_answers()
        self._time_deliveries()

    def _fault_at(self, t):
        """The number of the fault that hurts then; None if nothing does."""
        nth = bisect_right(self._starts, t) - 1
        if nth >= 0 and t <= self.run.end_of(self._faults[nth]):
            return self._faults[nth].number
        return None

    def _time_answers(self):
        for op in self.run.ops.values():
            if is_weak(op.user):
                continue
            for sent, ns in op.waits():
                self.waits_in[self._fault_at(sent)].append(ns / NS)
            if ack := op.ack():
                sent, ns = ack
                self.acks.append(ns / NS)
                self.acks_in[self._fault_at(sent)].append((ns / NS, op.user))

    def _time_deliveries(self):
        """From being sent to each reader, of the oldest event in a frame, if it is a
        message that was sent once."""
        for conn, leg, log in self.run.legs():
            if not log or is_weak(conn.user):
                continue
            frames = zip(leg.times, leg.firsts, leg.lasts, strict=True)
            for t, first, last in frames:
                event = (
                    log.at.get(max(first, leg.head + 1)) if last > leg.head else None
                )
                op = event and self.run.ops.get(event.key)
                if op and len(op.sends) == 1 and op.room == conn.room:
                    sent = op.sends[0][0]
                    self.delays.append((t - sent) / NS)
                    self.delays_in[self._fault_at(sent)].append((t - sent) / NS)

    @cached_property
    def _lines(self):
        """[(when a line was lost, when its page was welcomed again)]; what did not come
        back counts to the end. Closes that mean something are not lost lines, nor is a
        tab that its person closes."""
        found = []
        for conns in self.run.by_client.values():
            welcomed = sorted(conn.welcomed for conn in conns if conn.welcomed)
            for conn in conns:
                if is_weak(conn.user) or conn.code == CLOSED_BY_PERSON:
                    continue
                if conn.welcomed and conn.closed and conn.code < ABNORMAL:
                    nth = bisect_left(welcomed, conn.closed)
                    back = welcomed[nth] if nth < len(welcomed) else self.run.ended
                    found.append((conn.closed, back))
        return sorted(found)

    def _broken(self, fault):
        first = bisect_left(self._lines, (fault.start,))
        return self._lines[first : bisect_left(self._lines, (self.run.end_of(fault),))]

    @cached_property
    def oks(self):
        return sorted(
            t for op in self.run.ops.values() for t, what in op.answers if what == "ok"
        )

    def outages(self, fault):
        """For how long each line was away that broke in a fault."""
        return [(back - closed) / NS for closed, back in self._broken(fault)]

    def first_ok(self, fault):
        """From a fault's end until something is acknowledged."""
        end = self.run.end_of(fault)
        nth = bisect_left(self.oks, end)
        return ((self.oks[nth] if nth < len(self.oks) else self.run.ended) - end) / NS

    def recovery(self, fault):
        """From a fault's end until something is acknowledged, and every line that broke
        in it is back."""
        end = self.run.end_of(fault)
        back = max((back for _closed, back in self._broken(fault)), default=end)
        return max(self.first_ok(fault), (back - end) / NS)


def numbers(run, measures, violations):
    """What the report shows, as {name: number}."""
    hits = Counter(violation.invariant for violation in violations)
    jumps = [jump for _conn, leg, _log in run.legs() for jump in leg.jumps]
    said = [op for op in run.ops.values() if op.kind == "send"]
    recovery = defaultdict(list)
    for fault in run.faults.values():
        recovery[fault.name].append(measures.recovery(fault))
    return {
        "minutes": (run.ended - run.began) / NS / 60,
        "faults": len(run.faults),
        "sends": sum(len(op.sends) for op in said),
        "messages": len(said),
        "acts": len(run.ops) - len(said),
        "acked": sum(bool(op.oks) for op in said),
        "repeated": sum(len(op.sends) > 1 for op in said),
        "delivered": run.delivered,
        "connections": len(run.conns),
        "lost": hits["I1"],
        "doubled": hits["I3"] + sum(got < expected for expected, got in jumps),
        "gaps": hits["I4"] + sum(got > expected for expected, got in jumps),
        "out of order": hits["I8"],
        "leaks": hits["I9"] + hits["I10"],
        "restored away": sum(_went_with_restore(run, op) for op in said),
        "resets": dict(run.resets),
        "ack p50": median(measures.acks or [0.0]),
        "ack p99": p99(measures.acks),
        "delivery p50": median(measures.delays or [0.0]),
        "delivery p99": p99(measures.delays),
        "recovery": {name: sorted(found) for name, found in recovery.items()},
        "worst recovery": max(map(max, recovery.values()), default=0.0),
        "violations": dict(hits),
        "timeline": timeline(run, measures),
    }


def timeline(run, measures):
    """{"acks": how many in each STEP seconds, "faults": [(from, to) in seconds]}."""
    acks = Counter((t - run.began) // (STEP * NS) for t in measures.oks)
    steps = (run.ended - run.began) // (STEP * NS)
    faults = (
        ((fault.start - run.began) / NS, (run.end_of(fault) - run.began) / NS)
        for fault in run.faults.values()
    )
    return {"acks": [acks[nth] for nth in range(steps)], "faults": sorted(faults)}


def _went_with_restore(run, op):
    """Whether it was acknowledged, and only after the backup that was restored."""
    return bool(op.oks) and all(
        any(
            restore.old == generation and seq > restore.heads.get(op.room, 0)
            for restore in run.restores
        )
        for _t, generation, seq in op.oks
    )
