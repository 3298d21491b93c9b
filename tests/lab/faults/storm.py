"""I15 at its full size: thousands of lines through Nginx break at once, and all come
back at once, each from its cursor. (Pages wait for a random while; these do not.)

    python -m tests.lab.faults.storm --people 2000

prints what it saw, and ends with 1 where somebody was too long away, PostgreSQL had
more sessions than the pools allow, or more were let in than Nginx's gate allows.
"""

import argparse
import resource
import socket
import struct
import sys
import time
from dataclasses import dataclass

import psycopg

from tests.lab.bench.load import LoadPlan, Swarm
from tests.lab.bench.scenarios import Watch
from tests.lab.faults import provision
from tests.lab.faults.checker import Limits
from tests.lab.faults.site import SESSIONS
from tests.support.deployment import Deployment, new_folder
from tests.support.servers import own_environment

ROOM = 100  # people
GATE = 600  # handshakes a second, as deploy/install.sh sets it for three processes
SLACK = 1.2  # what comes late from one second is seen in the next
TALK = {"rate": 100, "seconds": 3, "speakers": 100}
RESET = struct.pack("ii", 1, 0)  # close without a farewell
HEADS = """
    SELECT room.slug, head.seq, (SELECT epoch FROM rooms_installation)
    FROM rooms_head head JOIN rooms_room room ON room.id = head.room_id
"""


class ReturningSwarm(Swarm):
    """Sockets that know when each of them was live."""

    def __init__(self, plan):
        super().__init__(plan)
        self.live_at = []

    def _awaken(self, one, data):
        super()._awaken(one, data)
        if one not in self.heads:
            self.live_at.append(time.monotonic())

    def break_all(self):
        for one in self.sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    @property
    def most_in_a_second(self):
        times = sorted(self.live_at)
        return max(
            sum(1 for other in times[nth:] if other < first + 1)
            for nth, first in enumerate(times)
        )


@dataclass
class Seen:
    people: int
    first_live: float  # seconds until all were live, when nobody had been there
    all_back: float  # seconds until all were live again
    most_in_a_second: int
    sessions: int  # of PostgreSQL, the most

    def faults(self, gate, limits=Limits()):  # noqa: B008
        """What should not have been, as sentences."""
        if self.all_back > limits.all_back:
            yield f"the last line was back in {self.all_back:.0f} s"
        if self.sessions > limits.sessions:
            yield f"PostgreSQL had {self.sessions} sessions, not {limits.sessions}"
        if self.most_in_a_second > SLACK * gate:
            yield f"{self.most_in_a_second} were let in in a second, not {gate}"

    def __str__(self):
        return (
            f"{self.people:,} people: live in {self.first_live:.1f} s; all lines broke;"
            f" all live again in {self.all_back:.1f} s, at most {self.most_in_a_second}"
            f" in a second; PostgreSQL had at most {self.sessions} sessions."
        )


def storm(deployment, people):
    """Let so many come, talk, lose their lines and come back; what was Seen."""
    rooms = {
        f"storm-{start}": [f"p{nth}" for nth in range(start, start + ROOM)]
        for start in range(0, people, ROOM)
    }
    made = provision.make(own_environment(**deployment.environment), rooms)
    members = [(slug, name) for slug, names in rooms.items() for name in names]
    plan = LoadPlan(
        port=deployment.nginx.port,
        paths=[f"/ws/rooms/{slug}/" for slug, _name in members],
        cookies=[
            f"{made['cookie']}={made['people'][name]['session']}"
            for _slug, name in members
        ],
        at_once=people,
        warm_up=0,
        **TALK,
    )
    before = ReturningSwarm(plan)
    first_live = before.connect()
    cursors = {
        slug: f"after={seq}&epoch={epoch}"
        for slug, seq, epoch in deployment.postgres.execute(HEADS)
    }
    before.run()
    with psycopg.connect(deployment.postgres.url_as("postgres")) as line:
        line.autocommit = True
        sessions = Watch(lambda: line.execute(SESSIONS).fetchone()[0])
        try:
            before.break_all()
            plan.paths = [f"/ws/rooms/{slug}/?{cursors[slug]}" for slug, _ in members]
            after = ReturningSwarm(plan)
            all_back = after.connect()
        finally:
            most = sessions.stop()
    after.close()
    return Seen(len(members), first_live, all_back, after.most_in_a_second, most)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=2000)
    people = parser.parse_args().people
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    deployment = Deployment(
        new_folder(), nginx={"HANDSHAKES": GATE, "GATE_LINE": 10 * GATE}
    )
    deployment.start()
    try:
        seen = storm(deployment, people)
    finally:
        deployment.stop()
    print(seen)
    sys.exit("; ".join(seen.faults(GATE)) or 0)


if __name__ == "__main__":
    main()
