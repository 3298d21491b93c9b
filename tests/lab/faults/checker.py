"""The judge of a history: a pure function from records to violations and numbers.

Each invariant is a generator of sentences, one a violation; none means that it held.
What it may rely on is in tests/lab/faults/index.py. A restored backup loses what was
acknowledged after it was made, by design; so everything is judged in its own epoch, and
only what the backup held must be there in the next.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tests.lab.faults.index import NS, Run
from tests.lab.faults.measures import Measures, numbers, p99

# What an op becomes, where the event is named otherwise.
EVENT_OF = {"leave": "part"}
UNASKED = {"message", "enter", "leave"}  # messages are judged by their keys
ONE_DAPHNE, KILLED, DRAINED = {"N1", "N2", "N3"}, {"N1"}, {"N2"}
REDIS = {"N11", "N12", "N13", "N14", "N15", "N16", "N24"}
POSTGRES, STORM = {"N5", "N6", "N21"}, "N20"


@dataclass(frozen=True)
class Limits:
    """What the timed and the bounded invariants allow; seconds and bytes."""

    rss_factor: float = 1.5
    rss_extra: int = 64 * 1024 * 1024
    held_factor: float = 1.05  # descriptors, threads, sessions
    held_extra: int = 5
    send: float = 1.0  # p99 of an ack, for those whose process is not hurt
    delivery: float = 3.0  # p99, without Redis
    error: float = 3.5  # p99 of an answer, without PostgreSQL: 3 s and the way back
    first_ok: float = 5.0  # after PostgreSQL is back
    live_again: float = 10.0  # p99, after a Daphne was killed
    handed_on: float = 3.0  # p99, after a Daphne drained
    all_back: float = 60.0  # after all lines broke
    sign_out: float = 30.0  # until a revoked session's sockets are closed
    fence: float = 8.0  # until a process that was declared dead has no sockets
    quiet: float = 30.0  # after a fault, in which a false leave may be its late effect
    sessions: int = 30  # of PostgreSQL, at most: three Daphnes with pools of 10
    samples: int = 1  # fewer tell nothing of a fault that lasts as long as it may take
    gap: int = 500  # events; whoever misses no more than these is not reset


class Violation(NamedTuple):
    invariant: str
    what: str


class Verdict(NamedTuple):
    violations: list[Violation]
    numbers: dict  # see measures.numbers

    @property
    def red(self):
        return {violation.invariant for violation in self.violations}


INVARIANTS = {}


def check(records, limits=Limits()):  # noqa: B008
    """Judge a history, given as an iterable of its records; a Verdict."""
    run = Run(records)
    run.measures = Measures(run)
    violations = [
        Violation(name, what)
        for name, judge in INVARIANTS.items()
        for what in judge(run, limits)
    ]
    return Verdict(violations, numbers(run, run.measures, violations))


def invariant(name):
    def register(judge):
        INVARIANTS[name] = judge
        return judge

    return register


# What is stored -------------------------------------------------------------------


@invariant("I1")
def no_acknowledged_loss(run, limits):
    if run.final is None:
        yield "the history has no final dump"
        return
    for op in run.ops.values():
        for t, generation, seq in op.oks:
            home = home_of(run, op, generation, seq)
            if home is None:
                if not is_beyond_backup(run, op, t, generation, seq):
                    yield f"{op.name} was acknowledged as #{seq} in {op.room}"
            else:
                yield from _lost_by_restore(run, op, home, seq)


def home_of(run, op, generation, seq):
    """The generation of the log that has the op under this number: that of its line,
    or a later one which the line did not know of yet."""
    for later in range(generation, max(run.logs, default=-1) + 1):
        if is_stored(run.logs.get(later, {}).get(op.room), op, seq):
            return later
    return None


def is_stored(log, op, seq):
    event = log and log.at.get(seq)
    if not event:
        return False
    if op.kind == "send":
        return (event.key, event.body) == (op.name, op.body)
    if op.kind == "kick" and event.target != op.of:
        return False
    return (event.kind, event.actor) == (EVENT_OF.get(op.kind, op.kind), op.user)


def is_beyond_backup(run, op, t, generation, seq):
    """Whether a restore took it away: it came after what the backup holds, and, where
    the old epoch was dumped, after the dump was taken. (Who acts without a line, such
    as by a form, may act in a later generation than that of their last line.)"""
    for restore in run.restores:
        dumped = run.dumped.get(restore.old)
        of_old = (
            generation == restore.old if dumped is None else generation <= restore.old
        )
        late = dumped is None or t >= dumped
        beyond = seq > restore.heads.get(op.room, 0)
        if of_old and late and beyond and op.t < restore.ended:
            return True
    return False


def _lost_by_restore(run, op, home, seq):
    for restore in run.restores:
        if restore.old == home and seq <= restore.heads.get(op.room, 0):
            if is_stored(run.logs.get(restore.new, {}).get(op.room), op, seq):
                home = restore.new
            elif restore.new in run.logs:
                yield f"{op.name}, #{seq} of {op.room}, was in the backup"
                return


@invariant("I2")
def no_phantoms(run, limits):
    for slug, log in logs(run):
        for event in log.events:
            if event.kind != "message":
                continue
            op = run.ops.get(event.key)
            if op is None:
                yield f"nobody sent #{event.seq} of {slug}, {event.key}"
            elif op.has_failed:
                yield f"#{event.seq} of {slug}, {event.key}, was refused"
            elif (op.user, op.room, op.body) != (event.actor, slug, event.body):
                yield f"#{event.seq} of {slug} is not what {event.key} said"
        yield from _acts_nobody_asked_for(run, slug, log)


def _acts_nobody_asked_for(run, slug, log):
    """(The first event of a room is its creation, before the run.)"""
    asked = Counter(
        (EVENT_OF.get(op.kind, op.kind), op.user, op.of)
        for op in run.ops.values()
        if op.room == slug and not op.has_failed
    )
    for event in log.events:
        act = (event.kind, event.actor, event.target)
        if event.seq > 1 and event.kind not in UNASKED:
            if not asked[act]:
                yield f"nobody asked for #{event.seq} of {slug}, {act}"
            asked[act] -= 1


@invariant("I3")
def stored_once(run, limits):
    for slug, log in logs(run):
        for key, seqs in log.seqs_of.items():
            if len(seqs) > 1:
                yield f"{key} is in {slug} as {seqs}"
    for op in run.ops.values():
        given = {(home_of(run, op, gen, seq), seq) for _t, gen, seq in op.oks}
        homes = Counter(home for home, _seq in given if home is not None)
        if any(count > 1 for count in homes.values()):
            yield f"{op.name} was given the numbers {sorted(s for _h, s in given)}"


@invariant("I4")
def numbers_have_no_hole(run, limits):
    for slug, log in logs(run):
        seqs = [0, *(event.seq for event in log.events)]
        for before, seq in pairwise(seqs):
            if seq != before + 1:
                yield f"in {slug} #{seq} comes after #{before}"
        if seqs[-1] != log.head:
            yield f"{slug} ends with #{seqs[-1]}, its counter says {log.head}"
    for room, seq, what in run.check_log:
        yield f"check_log: #{seq} of {room} {what}"


def logs(run):
    for rooms in run.logs.values():
        yield from rooms.items()


# What is delivered ----------------------------------------------------------------


@invariant("I5")
def delivered_in_order(run, limits):
    for conn in run.conns.values():
        void = conn.after is not None and conn.started and conn.epoch != conn.started
        if void and not conn.was_reset:
            yield f"{conn.client}: a cursor of another epoch was not reset"
        for leg in conn.legs:
            for expected, got in leg.jumps:
                yield f"{conn.client} got #{got} of {conn.room}, not #{expected}"
        for reset in conn.resets:
            if not is_due(run, limits, conn, reset):
                yield f"{conn.client} was reset ({reset.reason}) for nothing"


def is_due(run, limits, conn, reset):
    """Whether a page had to begin anew; else it loses its place for nothing."""
    match reset.reason:
        case "gap":
            return reset.head - reset.seen > limits.gap
        case "cleared":
            return any(op.kind == "clear" for op in run.ops.values())
        case _:  # only a restore voids a cursor, and only one from before it
            is_of_before = not reset.at_once or conn.epoch != conn.started
            return is_of_before and any(r.began < reset.t for r in run.restores)


@invariant("I6")
def all_agree(run, limits):
    for generation, room, seq in sorted(run.disputes):
        yield f"#{seq} of {room} was two things in epoch {generation}"


@invariant("I7")
def all_converge(run, limits):
    final = run.logs.get(run.final, {})
    if not run.states:
        yield "the history does not say how the pages ended"
    for state in run.states:
        name, room = state["client"], state["room"]
        if not (state["member"] and room in final):
            continue
        head = final[room].head
        if not state["live"]:
            yield f"{name} has no line to {room}"
        elif (run.generation(state["epoch"]), state["last"]) != (run.final, head):
            yield f"{name} is at #{state['last']} of {room}, the head is {head}"
        elif not state["same"]:
            yield f"{name} shows {room} as no new page does: {state['why']}"


@invariant("I8")
def real_time_order(run, limits):
    yield from _after_what_was_acknowledged(run)
    yield from _in_order_of_the_line(run)


def _after_what_was_acknowledged(run):
    moments = []
    for op in run.ops.values():
        for t, generation, seq in op.oks if op.kind == "send" else ():
            home = home_of(run, op, generation, seq)
            if home is not None:
                moments.append((op.t, 0, home, op.room, seq))
                moments.append((t, 1, home, op.room, seq))
    highest = defaultdict(int)
    for _t, is_ok, home, room, seq in sorted(moments):
        if is_ok:
            highest[home, room] = max(highest[home, room], seq)
        elif seq < highest[home, room]:
            above = highest[home, room]
            yield f"#{seq} of {room} was begun after #{above} was acknowledged"


def _in_order_of_the_line(run):
    """Of what went over one line, and over no other."""
    lines = defaultdict(list)
    for op in run.ops.values():
        if len(op.sends) == 1:
            lines[op.sends[0][1]].append((op.sends[0][0], op))
    for log in run.logs.values():
        for (client, _nr), sent in lines.items():
            last = 0
            for _t, op in sorted(sent, key=lambda one: one[0]):
                seqs = log[op.room].seqs_of.get(op.name) if op.room in log else ()
                for seq in seqs or ():
                    if seq < last:
                        yield f"{client}: {op.name} is #{seq}, sent after #{last}"
                    last = max(last, seq)


# Who may see it -------------------------------------------------------------------


@invariant("I9")
def revoked_at_once(run, limits):
    for slug, log in logs(run):
        for event in log.events:
            if event.kind == "message" and not log.is_member(event.actor, event.seq):
                yield f"{event.actor}, who was out, said #{event.seq} of {slug}"
    for conn, leg, log in run.legs():
        # A dump that was taken before a restore ends before what came until then.
        known = log and leg.head <= log.head
        last = log.last_for(conn.user, leg.head) if known else None
        if last is not None and min(leg.last, log.head) > last:
            yield f"{conn.client}, put out by #{last}, got #{leg.last}"
        if known and not log.is_member(conn.user, leg.head):
            yield f"{conn.client} was welcomed at #{leg.head}, and was no member"
    yield from _read_pages(run)
    yield from _signed_out(run, limits)


def _read_pages(run):
    """What was asked for by HTTP after the act that took the right was acknowledged."""
    ended = {}  # {(generation, room, seq): when it was acknowledged}
    for op in run.ops.values():
        if op.kind in ("kick", "leave"):
            ended |= {(home, op.room, seq): t for t, home, seq in op.oks}
    for read in run.reads:
        log = run.logs.get(read.generation, {}).get(read.room)
        if log and read.last <= log.head and not log.is_member(read.user, read.last):
            out = (read.generation, read.room, log.last_for(read.user, read.last))
            if ended.get(out, read.began) < read.began:
                yield f"{read.user}, put out by #{out[-1]}, read {read.room} by HTTP"


def _signed_out(run, limits):
    conns = defaultdict(list)
    for conn in run.conns.values():
        conns[conn.user].append(conn)
    for op in run.ops.values():
        done = [t for t, what in op.answers if what == "ok"]
        if op.kind == "logout" and done:
            until = run.calm_from(run.calm_from(done[0]) + limits.sign_out * NS)
            for conn in conns[op.user]:
                if conn.dialed < op.t and (conn.closed or run.ended) > until:
                    yield f"{conn.client} was signed out, its socket stayed"
                is_old = conn.session and conn.session == op.session
                if is_old and conn.dialed > done[0] and conn.welcomed:
                    yield f"{conn.client} came back with a session that was signed out"


@invariant("I10")
def nobody_sees_another_room(run, limits):
    for (client, room, marker), count in run.markers.items():
        if marker != run.secrets.get(room):
            yield f"{client}, in {room}, got {marker} in {count} frames"


@invariant("I11")
def presence_is_true(run, limits):
    if run.present is None:
        yield "the history does not say who is truly here"
        return
    for slug, log in run.logs.get(run.final, {}).items():
        truly = run.present.get(slug, set())
        for name in sorted(log.here - truly):
            yield f"{name} is said to be in {slug} and has no line"
        for name in sorted(truly - log.here):
            yield f"{name} is in {slug} and not said to be"
    for slug, log in logs(run):
        yield from _told_twice(slug, log)
    for conn, leg, log in run.legs():
        if log and conn.user in log.leaves:
            yield from _false_leaves(run, limits, conn, leg, log)


def _told_twice(slug, log):
    """Who comes in was not there, and who goes out was."""
    here = set()
    for event in log.events:
        if event.kind in ("enter", "leave"):
            if (event.kind == "enter") == (event.actor in here):
                yield f"#{event.seq} of {slug}: {event.actor}'s second {event.kind}"
            here ^= {event.actor}


def _false_leaves(run, limits, conn, leg, log):
    """Who gets their own leave is not gone: wrong, but where a fault cut their process
    off; and then it must drop them soon."""
    for seq in log.leaves[conn.user]:
        t = leg.when(seq) if leg.head < seq <= leg.last else None
        if t is None:
            continue
        if run.is_calm(t - limits.quiet * NS, t):
            yield f"{conn.client} was connected, #{seq} of {conn.room} says they left"
        elif (conn.closed or run.ended) > run.calm_from(t) + limits.fence * NS:
            yield f"{conn.client} stayed on a process that was declared dead"


# What it takes --------------------------------------------------------------------


@invariant("I12")
def bounded(run, limits):
    for process, samples in run.samples.items():
        before = [one for one in samples if one["t"] <= (run.baseline or run.ended)]
        base, last = (before or samples)[-1], samples[-1]
        most = base.get("rss", 0) * limits.rss_factor + limits.rss_extra
        peak = max(one.get("rss", 0) for one in samples)
        if peak > most:
            yield f"{process} grew from {base['rss']:,} to {peak:,} bytes"
        for what in ("fds", "threads", "sessions"):
            allowed = base.get(what, 0) * limits.held_factor + limits.held_extra
            if last.get(what, 0) > allowed:
                yield f"{process} holds {last[what]} {what}, it was {base[what]}"


@invariant("I13")
def available(run, limits):
    for fault in run.faults.values():
        if run.is_alone(fault):
            for what, samples, most in _promises(run.measures, limits, fault):
                lasted = (run.end_of(fault) - fault.start) / NS
                if p99(samples) > most:
                    what = f"{what} {p99(samples):.1f} s, not {most:.1f}"
                    yield f"{fault.name} (fault {fault.number}): {what}"
                elif len(samples) < limits.samples and lasted > most:
                    what = f"{what}: {len(samples)} in {lasted:.1f} s"
                    yield f"{fault.name} (fault {fault.number}): {what}"


def _promises(measures, limits, fault):
    """(what, how long each took, at most) of all that is promised in this fault; p99
    of them counts, and none in a fault that lasts longer is as bad."""
    name, acks = kind_of(fault), measures.acks_in[fault.number]
    if name in REDIS:
        yield "acks took", [seconds for seconds, _user in acks], limits.send
        yield "deliveries took", measures.delays_in[fault.number], limits.delivery
    if name in ONE_DAPHNE and fault.clients:
        others = [seconds for seconds, user in acks if user not in fault.clients]
        yield "others' acks took", others, limits.send
    if name in POSTGRES:
        yield "answers took", measures.waits_in[fault.number], limits.error
        yield "the first ack took", [measures.first_ok(fault)], limits.first_ok
    if name in KILLED:
        yield "lines came back after", measures.outages(fault), limits.live_again
    if name in DRAINED:
        yield "lines came back after", measures.outages(fault), limits.handed_on


def kind_of(fault):
    """N3 of N3b: the same fault in another measure."""
    return re.match(r"N?\d*", fault.name)[0] or fault.name


@invariant("I14")
def clean_logs(run, limits):
    for process, line in run.log_lines:
        yield f"{process}: {line[:300]}"


@invariant("I15")
def storms_pass(run, limits):
    for fault in run.faults.values():
        if kind_of(fault) == STORM:
            outages = run.measures.outages(fault)
            longest = max(outages, default=0)
            if len(outages) < limits.samples:
                yield f"fault {fault.number}: a storm that broke {len(outages)} lines"
            if longest > limits.all_back:
                yield f"fault {fault.number}: the last line was back in {longest:.0f} s"
    most = max((one["sessions"] for one in run.samples.get("postgres", ())), default=0)
    if most > limits.sessions:
        yield f"PostgreSQL had {most} sessions, the cap is {limits.sessions}"
