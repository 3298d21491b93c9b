"""A load generator that costs little: raw sockets, many frames a read.

It speaks WebSocket by hand. What it is sent it does not parse: it counts a marker in
the bytes, and reads the time stamp behind the first marker of each read: that of
the event that waited longest. Frames to the server are masked with zeros, which is
allowed and costs nothing.
"""

import json
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\nOrigin: {origin}\r\nCookie: {cookie}\r\n\r\n"
)
ZEROS = b"\x00\x00\x00\x00"
PING, PONG = 0x89, 0x8A
FILLER = "and some more words, as people use when they talk"
READ = 1 << 20


@dataclass
class LoadPlan:
    """What to do; `paths` and `cookies` have an entry a socket."""

    port: int
    host: str = "127.0.0.1"
    paths: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    speakers: int = 1  # how many of the sockets speak, spread evenly over them
    rate: float = 50.0  # messages a second, over all speakers
    seconds: float = 5.0
    warm_up: float = 1.0
    marker: str = '"body":"t'  # an event in the bytes; a time stamp (ns) follows
    ready: str = '"type":"welcome"'  # in the bytes when a socket is live
    post: str = '{{"type":"post","key":"{key}","body":"{text}"}}'
    hello: str = ""  # what a socket sends when it is open
    at_once: int = 50  # how many are opened at a time
    stalled: int = 0  # sockets that never read once they are live
    ports: list[int] = field(default_factory=list)  # several servers: sockets in turn


def text_frame(text):
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x81, 0x80 | size) + ZEROS + payload
    return struct.pack("!BBH", 0x81, 0x80 | 126, size) + ZEROS + payload


class Swarm:
    """Many sockets in one thread, and what they see."""

    def __init__(self, plan):
        self.plan = plan
        self.selector = selectors.EpollSelector()
        self.sockets = []
        self.heads = {}  # what a socket that is not live yet has been sent
        self.greeted = set()
        self.tails = {}  # the end of the last read, where a marker may be cut
        self.delivered = 0
        self.bytes = 0
        self.samples = []
        self.ack_samples = []
        self.measuring = False
        self.closed = 0
        self._buffer = bytearray(READ)
        self._marker = plan.marker.encode()
        self._ack = b'"type":"ack","key":"t'

    def connect(self, start=0, patience=120):
        """Open the sockets from number `start`; the seconds until all were live."""
        plan, begin = self.plan, time.monotonic()
        waiting = list(range(len(plan.paths) - 1, start - 1, -1))
        ports = plan.ports or [plan.port]
        while waiting or self.heads:
            while waiting and len(self.heads) < plan.at_once:
                self._open(waiting.pop(), ports)
            self._read_some(0.5)
            if time.monotonic() - begin > patience:
                raise TimeoutError(f"{len(self.heads)} sockets did not become live")
        return time.monotonic() - begin

    def _open(self, number, ports):
        plan = self.plan
        one = socket.create_connection((plan.host, ports[number % len(ports)]))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"{plan.host}:{ports[number % len(ports)]}"
        cookie = plan.cookies[number] if plan.cookies else ""
        head = HANDSHAKE.format(
            path=plan.paths[number], host=host, origin=f"http://{host}", cookie=cookie
        )
        one.sendall(head.encode())
        one.setblocking(False)
        self.sockets.append(one)
        self.heads[one] = b""
        self.selector.register(one, selectors.EVENT_READ)

    def run(self):
        """Speak for the time planned; returns what was seen, as a dict."""
        plan = self.plan
        for one in self.sockets[len(self.sockets) - plan.stalled :]:
            if plan.stalled:
                self.selector.unregister(one)
        step = max(1, len(self.sockets) // max(1, plan.speakers))
        speakers = self.sockets[::step][: plan.speakers]
        gap = 1 / plan.rate if plan.rate else None
        begin = time.monotonic()
        measure_from, end = begin + plan.warm_up, begin + plan.warm_up + plan.seconds
        due, sent = begin, 0
        while (now := time.monotonic()) < end:
            if not self.measuring and now >= measure_from:
                self.measuring, self.delivered, self.bytes, sent = True, 0, 0, 0
            while gap and due <= now:
                self._say(speakers[sent % len(speakers)])
                sent += 1
                due += gap
            self._read_some(min(0.01, max(0, due - now)) if gap else 0.1)
        return self._report(sent)

    def close(self):
        for one in self.sockets:
            one.close()

    def drain(self, seconds=1.0):
        """Only read, for so long."""
        self.measuring = False
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read_some(0.1)

    def _report(self, sent):
        seconds = self.plan.seconds
        return {
            "sockets": len(self.sockets),
            "offered": self.plan.rate,
            "sent": sent / seconds,
            "deliveries": self.delivered / seconds,
            "megabytes": self.bytes / seconds / 1e6,
            **percentiles("", self.samples),
            **percentiles("ack_", self.ack_samples),
            "closed": self.closed,
        }

    def _say(self, one):
        stamp = f"t{time.monotonic_ns()}"
        text = self.plan.post.format(key=stamp, text=f"{stamp} {FILLER}")
        try:
            one.send(text_frame(text))
        except (BlockingIOError, OSError):
            self.closed += 1

    def _read_some(self, timeout):
        for key, _events in self.selector.select(timeout):
            one = key.fileobj
            try:
                size = one.recv_into(self._buffer)
            except BlockingIOError:
                continue
            except OSError:
                size = 0
            if not size:
                self._lost(one)
            elif one in self.heads:
                self._awaken(one, bytes(self._buffer[:size]))
            else:
                self._count(one, size)

    def _lost(self, one):
        self.selector.unregister(one)
        one.close()
        self.closed += 1
        if self.heads.pop(one, None) is not None:
            raise ConnectionError("a socket was refused")

    def _awaken(self, one, data):
        head = self.heads[one] + data
        if self.plan.ready.encode() in head:
            del self.heads[one]
            self.tails[one] = b""
        else:
            if head.startswith(b"HTTP") and not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(head[:300])
            if self.plan.hello and b"\r\n\r\n" in head and one not in self.greeted:
                self.greeted.add(one)
                one.send(text_frame(self.plan.hello))
            self.heads[one] = head

    def _count(self, one, size):
        if self._buffer[0] == PING:
            self._answer_ping(one)
        marker, buffer = self._marker, self._buffer
        tail = self.tails[one]
        count = buffer.count(marker, 0, size)
        if tail:
            seam = tail + buffer[: len(marker) - 1]
            count += seam.count(marker)
        self.tails[one] = bytes(buffer[max(0, size - len(marker) + 1) : size])
        self.delivered += count
        self.bytes += size
        if self.measuring and count:
            self._sample(marker, size, self.samples)
        if self.measuring:
            self._sample(self._ack, size, self.ack_samples)

    def _answer_ping(self, one):
        """Only where a ping begins a read, as it does where little else is sent."""
        size = self._buffer[1]
        payload = bytes(self._buffer[2 : 2 + size])
        one.send(struct.pack("!BB", PONG, 0x80 | size) + ZEROS + payload)

    def _sample(self, marker, size, samples):
        at = self._buffer.find(marker, 0, size)
        if at < 0:
            return
        digits = bytes(self._buffer[at + len(marker) : at + len(marker) + 20])
        number = digits.partition(b" ")[0].partition(b'"')[0]
        if number.isdigit():
            samples.append((time.monotonic_ns() - int(number)) / 1e6)


def percentiles(prefix, samples):
    """p50, p99 and the largest, in ms."""
    if not samples:
        return {}
    ordered = sorted(samples)
    return {
        f"{prefix}p50": ordered[len(ordered) // 2],
        f"{prefix}p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        f"{prefix}max": ordered[-1],
    }


def main():
    """`python load.py < plan.json`: run it, print the report as JSON."""
    swarm = Swarm(LoadPlan(**json.load(sys.stdin)))
    connected = swarm.connect()
    report = swarm.run()
    print(json.dumps({"connected_in": connected, **report}))


if __name__ == "__main__":
    main()
