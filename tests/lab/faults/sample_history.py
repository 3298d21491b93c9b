"""Histories made by hand, for the checker to be judged by: runs of a few seconds in
which all is well, until a test spoils them."""

from tests.lab.faults.index import NS

SECRETS = {"lobby": "secret-lobby", "den": "secret-den"}
MEMBERS = {"lobby": ["alice", "bob", "dora"], "den": ["carol"]}
MEGABYTE = 1024 * 1024


class SampleHistory:
    """A system that does everything right, and tells it as the bench does."""

    def __init__(self):
        self.records = []
        self.now = 100.0  # seconds
        self.epoch = "one"
        self.logs = {slug: [] for slug in MEMBERS}
        self.lines = {}  # {client: the fields of its open socket}
        self.counts = {}  # {client: sockets so far}
        self.members = {slug: set(names) for slug, names in MEMBERS.items()}
        self.sessions = {}  # {user: what their browser is signed in by}
        self.tell("members", rooms=MEMBERS, secrets=SECRETS, daphnes=2)

    def tell(self, e, **fields):
        self.now += 0.01
        record = {"t": int(self.now * NS), "e": e, **fields}
        self.records.append(record)
        return record

    def rest(self, seconds):
        self.now += seconds

    def find(self, e, nth=0, **fields):
        """The nth record of that sort with these fields."""
        found = [
            record
            for record in self.records
            if record["e"] == e and fields.items() <= record.items()
        ]
        return found[nth]

    def drop(self, e, **fields):
        self.records.remove(self.find(e, **fields))

    # Sockets --------------------------------------------------------------------------

    def dial(self, client, room, after=None, user=None):
        """Open a socket; after: its cursor, in the present epoch."""
        self.counts[client] = self.counts.get(client, 0) + 1
        line = {"client": client, "conn": self.counts[client], "room": room}
        user = user or client
        epoch = None if after is None else self.epoch
        session = self.sessions.setdefault(user, f"{user}-1")
        facts = {"user": user, "after": after, "epoch": epoch, "session": session}
        self.tell("dial", **facts, **line)
        if user not in self.here(room):
            self.happen(room, "enter", user)
        self.lines[client] = line | {"user": user}
        head = len(self.logs[room])
        self.tell("welcome", epoch=self.epoch, head=head, **line)
        if after is not None and after < head:
            self._deliver(client, self.logs[room][after:])

    def close(self, client, code=1006):
        line = self.line(client)
        del self.lines[client]
        self.tell("close", code=code, **line)

    def line(self, client):
        line = self.lines[client]
        return {name: line[name] for name in ("client", "conn", "room")}

    def here(self, room):
        return {line["user"] for line in self.lines.values() if line["room"] == room}

    def _deliver(self, client, rows):
        events = [[row[0], row[-1]] for row in rows]
        line = self.line(client)
        markers = [SECRETS[line["room"]]]
        self.tell("recv", epoch=self.epoch, events=events, markers=markers, **line)

    # What happens ---------------------------------------------------------------------

    def happen(self, room, kind, actor, target=None, cause=None, key=None, body=None):
        """The room's next event, which all who are here get; its number."""
        seq = len(self.logs[room]) + 1
        digest = f"{self.epoch}-{room}-{seq}"
        row = [seq, kind, actor, target, cause, key, body, digest]
        self.logs[room].append(row)
        for client, line in self.lines.items():
            if line["room"] == room:
                self._deliver(client, [row])
        return seq

    def invoke(self, client, op, name, **fields):
        which = {"key" if op == "send" else "act": name}
        user = self.lines[client]["user"]
        fields = {**self.line(client), "user": user, "op": op, **which, **fields}
        self.tell("invoke", **fields)

    def answer(self, e, client, op, name, **fields):
        which = {"key" if op == "send" else "act": name}
        self.tell(e, op=op, **which, **self.line(client), **fields)

    def send(self, client, key):
        line = self.line(client)
        self.tell("send", key=key, client=client, conn=line["conn"])

    def say(self, client, key):
        self.invoke(client, "send", key, body=f"body of {key}")
        self.send(client, key)
        seq = self.store(client, key)
        self.answer("ok", client, "send", key, seq=seq)
        return seq

    def store(self, client, key):
        line = self.lines[client]
        body = f"body of {key}"
        return self.happen(line["room"], "message", line["user"], key=key, body=body)

    def kick(self, client, act, of):
        room = self.lines[client]["room"]
        self.invoke(client, "kick", act, of=of)
        self.happen(room, "leave", of, cause="kicked")
        seq = self.happen(room, "kick", self.lines[client]["user"], target=of)
        self.members[room].discard(of)
        self.answer("ok", client, "kick", act, seq=seq)
        self.close(of, 4403)
        return seq

    def join(self, user, room, act):
        fields = {"client": user, "conn": self.counts[user], "room": room}
        fields |= {"op": "join", "act": act}
        self.tell("invoke", user=user, **fields)
        seq = self.happen(room, "join", user)
        self.members[room].add(user)
        self.tell("ok", seq=seq, **fields)

    def sign_out(self, client, act):
        room, user = self.lines[client]["room"], self.lines[client]["user"]
        self.invoke(client, "logout", act, session=self.sessions[user])
        self.sessions[user] += "+"
        self.answer("ok", client, "logout", act, seq=None)
        self.close(client, 4401)
        self.happen(room, "leave", user, cause="signed out")

    # What hurts -----------------------------------------------------------------------

    def break_lines(self, *clients):
        """They are lost, and come again with their cursors."""
        for client in clients:
            line = self.lines[client]
            room, after = line["room"], len(self.logs[line["room"]])
            self.tell("close", code=1006, **self.line(client))
            self.counts[client] += 1
            line["conn"] = self.counts[client]
            self.rest(0.3)
            fresh = self.line(client)
            user = line["user"]
            facts = {"user": user, "after": after, "session": self.sessions[user]}
            self.tell("dial", epoch=self.epoch, **facts, **fresh)
            head = len(self.logs[room])
            self.tell("welcome", epoch=self.epoch, head=head, **fresh)

    def back_up(self, name="first"):
        self.kept = {slug: list(log) for slug, log in self.logs.items()}
        heads = {slug: len(log) for slug, log in self.logs.items()}
        self.tell("backup", name=name, epoch=self.epoch, heads=heads)

    def restore(self, epoch, name="first"):
        heads = {slug: len(log) for slug, log in self.kept.items()}
        self.dump("restore")
        self.tell("restore", name=name, epoch=self.epoch, heads=heads)
        self.logs = {slug: list(log) for slug, log in self.kept.items()}
        self.epoch = epoch
        self.tell("restored", name=name, epoch=epoch)

    def reset(self, client, reason):
        """The page's cursor is void: it gets the newest page."""
        line = self.line(client)
        head = len(self.logs[line["room"]])
        self.tell("reset", reason=reason, head=head, **line)
        self.read(self.lines[client]["user"], **line)

    def read(self, user, room, **line):
        """Get the newest page of a log by HTTP."""
        rows = self.logs[room]
        facts = {"epoch": self.epoch, "last": len(rows), "markers": [SECRETS[room]]}
        facts |= {"user": user, "room": room, "began": int(self.now * NS)}
        self.tell("page", events=[[row[0], row[-1]] for row in rows], **facts, **line)

    # The end --------------------------------------------------------------------------

    def sample(self, rss=100 * MEGABYTE, fds=50, threads=8, sessions=20):
        self.tell("sample", process="daphne-0", rss=rss, fds=fds, threads=threads)
        self.tell("sample", process="postgres", sessions=sessions)

    def dump(self, why):
        rooms = {
            slug: {
                "head": len(log),
                "events": [list(row) for row in log],
                "members": sorted(self.members[slug]),
                "here": sorted(self.here(slug)),
            }
            for slug, log in self.logs.items()
        }
        self.tell("dump", why=why, epoch=self.epoch, rooms=rooms, check_log=[])

    def end(self):
        self.tell("hush")
        self.tell("settled")
        self.sample()
        self.dump("end")
        self.tell("present", rooms={slug: sorted(self.here(slug)) for slug in MEMBERS})
        for client, line in self.lines.items():
            self.tell(
                "state",
                **self.line(client),
                user=line["user"],
                epoch=self.epoch,
                last=len(self.logs[line["room"]]),
                live=True,
                member=True,
                same=True,
                why="",
            )
        return self


def opening():
    """Three people in two rooms, before anything hurts."""
    history = SampleHistory()
    history.dial("alice", "lobby")
    history.dial("bob", "lobby")
    history.dial("carol", "den")
    history.say("alice", "a1")
    history.say("bob", "b1")
    history.say("carol", "c1")
    history.sample()
    history.tell("baseline")
    return history


def good():
    """Everything happens once, and all is well."""
    history = opening()
    history.rest(40)
    history.tell("fault", number=1, name="N1", clients=["bob"])
    history.break_lines("bob")
    history.say("alice", "a1b")
    history.rest(2)
    history.tell("healed", number=1, name="N1")
    history.rest(10)
    history.tell("fault", number=2, name="N11")
    history.say("alice", "a2")
    history.rest(2)
    history.tell("healed", number=2, name="N11")
    history.rest(10)
    history.tell("fault", number=3, name="N5")
    history.invoke("alice", "send", "a3", body="body of a3")
    history.send("alice", "a3")
    history.rest(3)
    history.answer("info", "alice", "send", "a3", why="try_later")
    history.tell("healed", number=3, name="N5")
    history.send("alice", "a3")
    history.answer("ok", "alice", "send", "a3", seq=history.store("alice", "a3"))
    history.rest(10)
    history.tell("fault", number=4, name="N20")
    history.break_lines("alice", "bob", "carol")
    history.tell("healed", number=4, name="N20")
    history.say("bob", "b2")
    history.kick("alice", "kick-1", of="bob")
    history.join("bob", "lobby", "join-1")
    history.dial("bob", "lobby", after=3)
    history.say("bob", "b3")
    history.sign_out("carol", "out-1")
    history.rest(5)
    history.dial("carol", "den", after=1)
    history.invoke("carol", "send", "c2", body="body of c2")
    history.send("carol", "c2")
    history.answer("fail", "carol", "send", "c2", code="archived")
    history.say("alice", "a4")
    history.rest(40)
    return history.end()


def restored():
    """A backup is restored: what was said after it is gone, by design."""
    history = opening()
    history.back_up()
    history.say("alice", "a2")
    history.tell("fault", number=1, name="N23")
    history.restore("two")
    for client in ("alice", "bob", "carol"):
        history.reset(client, "epoch")
    history.tell("healed", number=1, name="N23")
    history.say("bob", "b2")
    history.rest(40)
    return history.end()
