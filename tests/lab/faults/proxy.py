"""Lines that can be hurt: small TCP proxies, in a process of their own.

A proxy stands where the network would. What it cannot pass on it holds, as TCP does
with what gets lost on the way: after a short blackhole the bytes still arrive, in
order. Only hints are ever left out of a stream, and only whole ones.

`Proxies` is the harness's handle; `python -m tests.lab.faults.proxy SEED` is the
process. They speak in lines of JSON.
"""

import asyncio
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass

from tests.support.servers import ROOT

UP, DOWN = "up", "down"  # towards the server, towards the client
CHUNK = 64 * 1024
NARROW = 16 * 1024
RESET = struct.pack("ii", 1, 0)  # linger for 0 s: close() sends RST
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
PUBLISHED = re.compile(rb"[*>]3\r\n\$7\r\nmessage\r\n\$(\d+)\r\n")
LENGTH = re.compile(rb"\r\n\$(\d+)\r\n")
SHARE = 0.3  # of the hints that are hurt, of the commits that are cut


@dataclass
class Weather:
    """What happens to the bytes of a line.

    `mode` is one of "pass", "drop" (neither direction gets through), "half-open"
    (nothing gets through in `direction`), "delay" (`delay` ± `jitter` s each chunk),
    "throttle" (`rate` bytes/s), "cut" (each line breaks `after` so many bytes), "reset"
    (no line holds), "cut commits" (PostgreSQL's answer to a COMMIT is lost with its
    line), "lose hints", "double hints" and "shuffle hints" (of Redis's subscribers).
    """

    mode: str = "pass"
    direction: str = DOWN
    delay: float = 0.0
    jitter: float = 0.0
    rate: float = 1024.0
    after: int = 0


class ProxiedConnection:
    """One connection through a proxy."""

    def __init__(self, proxy, client):
        self.proxy = proxy
        self.ends = {DOWN: client}  # the writer towards which a direction goes
        self.passed = 0  # bytes since the weather changed
        self.answer_is_lost = False
        self.late = b""  # a hint that comes after the next ones

    async def run(self, from_client, target):
        try:
            async with asyncio.timeout(5):
                opened = await _connect(target, self.proxy.is_narrow)
        except OSError:
            return self.reset()
        from_server, self.ends[UP] = opened
        pumps = [
            asyncio.create_task(self._pump(from_client, UP)),
            asyncio.create_task(self._pump(from_server, DOWN)),
        ]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for end in self.ends.values():
            end.close()

    async def _pump(self, source, direction):
        end = self.ends[direction]
        with suppress(OSError):
            while chunk := await source.read(CHUNK):
                await self._treat(chunk, direction, end)
                await end.drain()
        await self._passage(direction)  # the end of a stream travels as its bytes do

    async def _treat(self, chunk, direction, end):
        await self._passage(direction)
        if self.answer_is_lost and direction == DOWN:
            return self.reset()
        weather = self.proxy.weather
        match weather.mode:
            case "delay":
                slack = self.proxy.rng.uniform(-weather.jitter, weather.jitter)
                await asyncio.sleep(max(0.0, weather.delay + slack))
            case "throttle":
                return await self._trickle(chunk, weather.rate, end)
            case "cut":
                return self._cut(chunk, weather.after, end)
            case "cut commits" if direction == UP and COMMIT in chunk:
                self.answer_is_lost = self.proxy.rng.random() < SHARE
            case "lose hints" | "double hints" | "shuffle hints":
                if direction == DOWN:
                    chunk = self._hurt_hints(chunk, weather.mode, self.proxy.rng)
        end.write(chunk)

    async def _passage(self, direction):
        """Wait until something gets through in this direction."""
        while self.proxy.is_closed(direction):
            await self.proxy.changed.wait()

    def _hurt_hints(self, chunk, mode, rng):
        hints = whole_messages(chunk)
        if hints is None:
            return chunk
        match mode:
            case "lose hints":
                hints = [one for one in hints if rng.random() >= SHARE]
            case "double hints":
                hints = [
                    one for one in hints for _ in range(1 + (rng.random() < SHARE))
                ]
            case "shuffle hints":
                rng.shuffle(hints)
                hints.append(self.late)
                self.late = hints.pop(0) if rng.random() < SHARE else b""
        return b"".join(hints)

    async def _trickle(self, chunk, rate, end):
        step = max(1, int(rate / 10))
        for start in range(0, len(chunk), step):
            end.write(chunk[start : start + step])
            await end.drain()
            if self.proxy.weather.mode == "throttle":
                await asyncio.sleep(0.1)

    def _cut(self, chunk, after, end):
        self.passed += len(chunk)
        if self.passed <= after:
            return end.write(chunk)
        end.write(chunk[: after - self.passed])
        self.reset()

    def reset(self):
        for end in self.ends.values():
            with suppress(OSError):
                one = end.get_extra_info("socket")
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()


class Proxy:
    """Listens on a port of its own for what goes to `target`: [host, port] or a path.

    A narrow one has small buffers, so that a server soon notices who does not read.
    """

    def __init__(self, target, rng, is_narrow):
        self.target = target
        self.is_narrow = is_narrow
        self.rng = rng
        self.weather = Weather()
        self.changed = asyncio.Event()
        self.lines = set()

    async def listen(self):
        """The port."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        line = ProxiedConnection(self, writer)
        if self.is_narrow:
            one = writer.get_extra_info("socket")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
        if self.weather.mode == "reset":
            return line.reset()
        self.lines.add(line)
        try:
            await line.run(reader, self.target)
        finally:
            self.lines.discard(line)

    def change(self, weather):
        self.weather = weather
        for line in self.lines:
            line.passed = 0
            line.answer_is_lost = False
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        if weather.mode == "reset":
            self.reset()

    def reset(self):
        """All lines break at once."""
        for line in list(self.lines):
            line.reset()

    def is_closed(self, direction):
        mode = self.weather.mode
        return mode == "drop" or (
            mode == "half-open" and direction == self.weather.direction
        )


def whole_messages(chunk):
    """The published messages that a chunk from Redis is made of; None if it is not."""
    messages, at = [], 0
    while at < len(chunk):
        end = _end_of_message(chunk, at)
        if end is None:
            return None
        messages.append(chunk[at:end])
        at = end
    return messages


def _end_of_message(chunk, at):
    if not (channel := PUBLISHED.match(chunk, at)):
        return None
    if not (payload := LENGTH.match(chunk, channel.end() + int(channel[1]))):
        return None
    end = payload.end() + int(payload[1]) + len(b"\r\n")
    return end if end <= len(chunk) else None


async def _connect(target, is_narrow):
    if isinstance(target, str):
        return await asyncio.open_unix_connection(target)
    one = socket.socket()
    one.setblocking(False)
    if is_narrow:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
    await asyncio.get_running_loop().sock_connect(one, tuple(target))
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return await asyncio.open_connection(sock=one)


# The process ----------------------------------------------------------------------


class Proxies:
    """Proxies by name, in a process of their own. Its methods wait for the answer and
    may be called from any thread."""

    def __init__(self, seed):
        command = [sys.executable, "-m", "tests.lab.faults.proxy", str(seed)]
        self._lock = threading.Lock()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is the harness's to answer
        )

    def add(self, name, target, is_narrow=False):
        """The port of a new proxy before `target`: (host, port), or a path."""
        return self._ask(act="add", name=name, target=target, is_narrow=is_narrow)

    def change(self, name, mode, **weather):
        self._ask(act="change", name=name, weather={"mode": mode, **weather})

    def heal(self, name):
        self.change(name, "pass")

    def reset(self, name):
        """Break all lines; new ones hold."""
        self._ask(act="reset", name=name)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()

    def _ask(self, **request):
        with self._lock:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


async def main(seed):
    proxies = {}
    loop = asyncio.get_running_loop()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(text)
        print(json.dumps(await _do(proxies, seed, **request)), flush=True)
    os._exit(0)  # all lines end with the process


async def _do(proxies, seed, act, name, target=None, is_narrow=False, weather=None):
    match act:
        case "add":
            rng = random.Random(f"{seed} {name}")
            proxies[name] = Proxy(target, rng, is_narrow)
            return await proxies[name].listen()
        case "change":
            proxies[name].change(Weather(**weather))
        case "reset":
            proxies[name].reset()
    return None


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
