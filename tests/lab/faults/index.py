"""A history (tests/lab/faults/history.py), put in order: what the checker asks, it
finds here without a search. Nothing here judges."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

NS = 1_000_000_000  # in a second


def numbers():
    return array("q")


class StoredEvent(NamedTuple):
    """One line of a room's log, from a dump."""

    seq: int
    kind: str
    actor: str | None
    target: str | None
    cause: str | None
    key: str | None
    body: str | None
    digest: str


class RoomLog:
    """The whole log of a room, as the database had it."""

    def __init__(self, dump, members):
        self.head = dump["head"]
        self.members = set(dump["members"])
        self.here = set(dump["here"])
        self.events = [StoredEvent(*event) for event in dump["events"]]
        self.at = {event.seq: event for event in self.events}
        self.seqs_of = defaultdict(list)  # {key: [seq]}
        self.leaves = defaultdict(list)  # {name: [seq]}, of who was not put out
        self._turns = defaultdict(list)  # {name: [(seq, is a member from here on)]}
        for name in members:
            self._turns[name].append((0, True))
        for event in self.events:
            self._fold(event)

    def _fold(self, event):
        match event.kind:
            case "message":
                self.seqs_of[event.key].append(event.seq)
            case "leave" if event.cause not in ("kicked", "signed out"):
                self.leaves[event.actor].append(event.seq)
            case "join" | "part":
                turn = (event.seq, event.kind == "join")
                self._turns[event.actor].append(turn)
            case "kick":
                self._turns[event.target].append((event.seq, False))

    def is_member(self, name, seq):
        """Whether they were one when that number had been given."""
        turns = self._turns[name]
        nth = bisect_right(turns, (seq, True))
        return nth > 0 and turns[nth - 1][1]

    def last_for(self, name, head):
        """The last number that a socket of theirs, welcomed at `head`, may be sent."""
        outs = [seq for seq, is_in in self._turns[name] if not is_in]
        nth = bisect_right(outs, head)
        if self.is_member(name, head):
            return outs[nth] if nth < len(outs) else None
        return outs[nth - 1] if nth else 0


@dataclass(slots=True)
class ClientOperation:
    """Somebody wanted something: to say something, or an act."""

    name: str
    t: int
    client: str
    user: str
    room: str
    kind: str
    body: str | None
    of: str | None
    session: str | None = None  # of its browser; of a logout, the one that ends
    sends: list = field(default_factory=list)  # [(t, conn)]
    answers: list = field(default_factory=list)  # [(t, "ok" | "fail" | "info")]
    oks: list = field(default_factory=list)  # [(t, generation of the line, seq)]

    @property
    def has_failed(self):
        return any(what == "fail" for _t, what in self.answers)

    def waits(self):
        """[(when it was sent, ns until an answer)]; what was not answered before it was
        sent again is not in it."""
        times = [t for t, _what in self.answers]
        for nth, (sent, _conn) in enumerate(self.sends):
            until = self.sends[nth + 1][0] if nth + 1 < len(self.sends) else None
            first = bisect_left(times, sent)
            if first < len(times) and (until is None or times[first] < until):
                yield sent, times[first] - sent

    def ack(self):
        """(when it was first sent, ns until it was acknowledged), repeats and all; None
        if it never was, or if its line was lost meanwhile."""
        done = next((t for t, what in self.answers if what == "ok"), None)
        if done is None or len({conn for _t, conn in self.sends}) != 1:
            return None
        return self.sends[0][0], done - self.sends[0][0]


@dataclass(slots=True)
class Leg:
    """What a socket got from its welcome, or from a reset, to the next reset."""

    generation: int
    head: int
    next: int  # the number that must come next
    jumps: list = field(default_factory=list)  # [(expected, got)]
    times: array = field(default_factory=numbers)  # of each frame …
    firsts: array = field(default_factory=numbers)  # … and its first and last number
    lasts: array = field(default_factory=numbers)

    def take(self, t, seqs):
        for seq in seqs:
            if seq != self.next:
                self.jumps.append((self.next, seq))
            self.next = seq + 1
        self.times.append(t)
        self.firsts.append(seqs[0])
        self.lasts.append(seqs[-1])

    @property
    def last(self):
        return self.lasts[-1] if self.lasts else 0

    def when(self, seq):
        """When that number came; None if it did not."""
        nth = bisect_left(self.lasts, seq)
        return self.times[nth] if nth < len(self.lasts) else None


class Reset(NamedTuple):
    """`seen` is the number that its page was at, `head` where it has to go on;
    `at_once` is whether it came before any event of its socket."""

    t: int
    reason: str
    seen: int
    head: int
    at_once: bool


class PageRead(NamedTuple):
    """The newest page of a log, as somebody got it by HTTP; `last` is its head."""

    began: int
    user: str
    room: str
    generation: int
    last: int


@dataclass(slots=True)
class Connection:
    """A socket, from being dialled to being closed."""

    client: str
    user: str
    room: str
    dialed: int
    after: int | None
    epoch: str | None
    session: str | None = None
    welcomed: int | None = None
    was_reset: bool = False  # before any event
    resets: list = field(default_factory=list)
    started: str | None = None  # the epoch of its welcome
    legs: list = field(default_factory=list)
    closed: int | None = None
    code: int | None = None


@dataclass(slots=True)
class InjectedFault:
    number: int
    name: str
    start: int
    clients: frozenset
    heal: int | None = None
    healed: int | None = None


class Restore(NamedTuple):
    """From one generation of the log to the next; `heads` is what the backup held."""

    old: int
    new: int
    heads: dict
    began: int
    ended: int


class Run:
    """All of a history. Epochs are numbered in order of time: generations."""

    def __init__(self, records):
        self.began = self.ended = 0
        self.members_at_first, self.secrets = {}, {}
        self.ops: dict[str, ClientOperation] = {}
        self.conns: dict[tuple, Connection] = {}
        self.by_client = defaultdict(list)  # {client: [Connection]}
        self.faults: dict[int, InjectedFault] = {}
        self.logs: dict[int, dict[str, RoomLog]] = {}
        self.dumped: dict[int, int] = {}  # when
        self.final: int | None = None  # the generation of the last dump
        self.restores: list[Restore] = []
        self.digests = defaultdict(dict)  # {(generation, room): {seq: digest}}
        self.disputes = set()  # {(generation, room, seq)}
        self.markers = Counter()  # of (client, room, marker)
        self.reads: list[PageRead] = []
        self.samples = defaultdict(list)  # {process: [record]}
        self.baseline = None
        self.log_lines, self.states, self.present = [], [], None
        self.check_log = []  # [(room, seq, what)]
        self.measures = None  # the checker's, made when all has been read
        self.resets = Counter()
        self.delivered = 0
        self._epochs: dict[str, int] = {}
        self._restoring = None
        for record in records:
            self.began = self.began or record["t"]
            self.ended = record["t"]
            if handle := getattr(self, f"_{record['e']}", None):
                handle(record)

    def generation(self, epoch):
        return self._epochs.setdefault(epoch, len(self._epochs))

    # The run --------------------------------------------------------------------------

    def _members(self, r):
        self.members_at_first, self.secrets = r["rooms"], r["secrets"]

    def _baseline(self, r):
        self.baseline = r["t"]

    def _fault(self, r):
        clients = frozenset(r.get("clients", ()))
        self.faults[r["number"]] = InjectedFault(
            r["number"], r["name"], r["t"], clients
        )

    def _heal(self, r):
        self.faults[r["number"]].heal = r["t"]

    def _healed(self, r):
        self.faults[r["number"]].healed = r["t"]

    def _sample(self, r):
        self.samples[r["process"]].append(r)

    def _log(self, r):
        self.log_lines.append((r["process"], r["line"]))

    # What clients do ------------------------------------------------------------------

    def _invoke(self, r):
        name = r.get("key") or r["act"]
        self.ops[name] = ClientOperation(
            name,
            r["t"],
            r["client"],
            r["user"],
            r["room"],
            r["op"],
            r.get("body"),
            r.get("of"),
            r.get("session"),
        )

    def _send(self, r):
        self.ops[r["key"]].sends.append((r["t"], (r["client"], r["conn"])))

    def _answer(self, r):
        op = self.ops[r.get("key") or r["act"]]
        op.answers.append((r["t"], r["e"]))
        return op

    _fail = _info = _answer

    def _ok(self, r):
        op = self._answer(r)
        conn = self.conns.get((r["client"], r["conn"]))
        generation = conn.legs[-1].generation if conn and conn.legs else 0
        if r.get("seq") is not None:
            op.oks.append((r["t"], generation, r["seq"]))

    # What clients see -----------------------------------------------------------------

    def _dial(self, r):
        conn = Connection(
            r["client"],
            r["user"],
            r["room"],
            r["t"],
            r["after"],
            r["epoch"],
            r.get("session"),
        )
        self.conns[r["client"], r["conn"]] = conn
        self.by_client[r["client"]].append(conn)

    def _welcome(self, r):
        conn = self.conns[r["client"], r["conn"]]
        conn.welcomed, conn.started = r["t"], r["epoch"]
        after = r["head"] if conn.after is None else conn.after
        conn.legs.append(Leg(self.generation(r["epoch"]), r["head"], after + 1))

    def _reset(self, r):
        self.resets[r["reason"]] += 1
        conn = self.conns[r["client"], r["conn"]]
        generation, seen = conn.legs[-1].generation, conn.legs[-1].next - 1
        at_once = len(conn.legs) == 1 and not conn.legs[0].times
        conn.resets.append(Reset(r["t"], r["reason"], seen, r["head"], at_once))
        if at_once:
            conn.was_reset = True
            conn.legs.clear()
        elif r["reason"] == "epoch":  # the line goes on, in the epoch after its own
            generation += 1
        conn.legs.append(Leg(generation, r["head"], r["head"] + 1))

    def _recv(self, r):
        leg = self.conns[r["client"], r["conn"]].legs[-1]
        leg.take(r["t"], [seq for seq, _digest in r["events"]])
        self.delivered += len(r["events"])
        self._compare(leg.generation, r["room"], r["events"])
        self._mark(r)

    def _page(self, r):
        if "began" in r:
            place = (r["room"], self.generation(r["epoch"]), r["last"])
            self.reads.append(PageRead(r["began"], r["user"], *place))
        self._compare(self.generation(r["epoch"]), r["room"], r["events"])
        self._mark(r)

    def _mark(self, r):
        for marker in r["markers"]:
            self.markers[r["client"], r["room"], marker] += 1

    _frame = _mark

    def _compare(self, generation, room, events):
        known = self.digests[generation, room]
        for seq, digest in events:
            if known.setdefault(seq, digest) != digest:
                self.disputes.add((generation, room, seq))

    def _close(self, r):
        if conn := self.conns.get((r["client"], r["conn"])):
            conn.closed, conn.code = r["t"], int(r["code"])

    # Backups and the end --------------------------------------------------------------

    def _restore(self, r):
        self._restoring = r

    def _restored(self, r):
        was = self._restoring
        old, new = self.generation(was["epoch"]), self.generation(r["epoch"])
        self.restores.append(Restore(old, new, was["heads"], was["t"], r["t"]))

    def _dump(self, r):
        generation = self.generation(r["epoch"])
        rooms = {
            slug: RoomLog(dump, self.members_at_first.get(slug, ()))
            for slug, dump in r["rooms"].items()
        }
        self.logs[generation], self.dumped[generation] = rooms, r["t"]
        for slug, log in rooms.items():
            pairs = ((event.seq, event.digest) for event in log.events)
            self._compare(generation, slug, pairs)
        self.check_log += r.get("check_log", ())
        if r["why"] == "end":
            self.final = generation

    def _present(self, r):
        self.present = {slug: set(names) for slug, names in r["rooms"].items()}

    def _state(self, r):
        self.states.append(r)

    def legs(self):
        """(Connection, Leg, RoomLog or None) of all that was ever delivered."""
        for conn in self.conns.values():
            for leg in conn.legs:
                yield conn, leg, self.logs.get(leg.generation, {}).get(conn.room)

    # Faults in time -------------------------------------------------------------------

    def end_of(self, fault):
        return fault.healed or fault.heal or self.ended

    def calm_from(self, t):
        """`t`, or where something hurts then, when the last of it is healed."""
        for fault in sorted(self.faults.values(), key=lambda one: one.start):
            if fault.start <= t < self.end_of(fault):
                t = self.end_of(fault)
        return t

    def is_calm(self, start, end):
        """Whether nothing hurts at any time between."""
        return not any(
            fault.start <= end and start <= self.end_of(fault)
            for fault in self.faults.values()
        )

    def is_alone(self, fault):
        """Whether no other fault overlaps it, or was healed just before."""
        start, end = fault.start - 5 * NS, self.end_of(fault)
        return not any(
            other is not fault and other.start <= end and start <= self.end_of(other)
            for other in self.faults.values()
        )
