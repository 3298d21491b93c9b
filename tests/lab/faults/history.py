"""The history of a run: all that was done and seen, for the checker to judge.

One JSON object a line, in order of time. Each has `t` (ns of CLOCK_MONOTONIC) and `e`,
what it is; the other fields are below. `client` is the name of a page (or of a second
tab, "…-twin-1"), `conn` its socket, counted from 1, `user` a person's name, `room` a
slug. The digest of an event is that of its JSON on the wire, with the keys sorted.

The run
    members   rooms {slug: [names of the members]}, secrets {slug: marker}: as they are
              before anybody speaks; daphnes (how many)
    baseline  the load runs, nothing was hurt yet
    fault     number, name ("N5"), what?, clients? [names of people whose sockets are on
              what is hurt]: from now on it hurts
    heal      number: from now on it is being healed
    healed    number: the healing has been done (a process has started again)
    hush      nobody begins anything new
    settled   the time to get well again is over; `dump` and `state` follow
    sample    process, pid, rss (bytes), fds, threads; and, where process is "postgres"
              or "redis", sessions (client connections). Once more after `settled`
    log       process, line: what it wrote that nobody should have to read (an error, a
              traceback) and that does not rightly tell of a fault

What clients do; each but `invoke` may be missing. `op` is send, join, leave, kick or
logout; `key` names what is sent, `act` (from `name_act`) any other act.
    invoke    client, conn, user, room, op, key | act, body (digest; of a send), of (a
              name; of a kick), session (that ends; of a logout): somebody wants it.
              Once for each
    send      client, conn, key: it goes over this line, for the first time or again
    ok        client, conn, room, op, key | act, seq (None where nothing had to be
              done): acknowledged
    fail      client, conn, room, op, key | act, code: refused; surely not stored, and
              not to be repeated
    info      client, conn, room, op, key | act, why (an error code, "unanswered" …):
              unknown, or not now; it may be repeated

What clients see
    dial      client, conn, user, room, after (seq), epoch, session (a digest): a
              socket with this cursor; both None without one
    welcome   client, conn, room, epoch, head
    recv      client, conn, room, epoch (of the welcome), events [[seq, digest], …],
              markers [secrets found in the frame]
    frame     client, conn, room (None: the list of rooms), type, markers: any other
              frame that has markers in it
    reset     client, conn, room, reason, head
    hole      client, conn, room, last: the page saw a number missing
    page      client, conn, user, room, epoch, last, events, markers, began (ns: when
              it was asked for): loaded by HTTP anew
    stall     client: it reads nothing from now on
    unstall   client
    close     client, conn, room, code

A backup and its restore
    backup    name, epoch, heads {slug: seq}: what it holds; told when it is made
    dump      of the old epoch, at the latest moment before the restore at which it can
              be asked for: `why` is "restore"
    restore   name, epoch (the old), then heads as in `backup`
    restored  name, epoch (the new)

The end
    dump      why ("restore" | "end"), epoch, rooms {slug: {head (the counter), events
              [[seq, kind, actor, target, cause, key, body, digest], …] of the whole log
              (names; None where there is none; `body` is a digest, of messages),
              members [names], here [names: unsettled visits in the database]}},
              check_log [[room, seq, what], …]: what `manage.py check_log` would find
    present   rooms {slug: [names]}: who truly has a live socket; taken with the dump
    state     client, user, room, epoch, last, live, member (by the database), same
              (whether what the page built from events is what a new page shows), why
"""

import itertools
import threading
import time

import orjson


class History:
    """Writes one. Any thread may tell it something."""

    def __init__(self, path):
        self._file = path.open("wb", buffering=1 << 20)
        self._lock = threading.Lock()
        self._acts = itertools.count(1)

    def tell(self, event, /, **fields):
        """Something happened, now."""
        with self._lock:
            line = {"t": time.monotonic_ns(), "e": event, **fields}
            self._file.write(orjson.dumps(line) + b"\n")

    def name_act(self):
        return f"act-{next(self._acts)}"

    def close(self):
        self._file.close()


def read(path):
    """The records of a history, as dicts, in order. A line that was cut off by the end
    of its writer is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield orjson.loads(line)
