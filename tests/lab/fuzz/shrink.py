"""From a Finding to the smallest frame that shows it again."""

import asyncio
import random
import re
import time

import orjson

from tests.lab.fuzz.hunt import LOOK_EVERY, PATIENCE, Finding
from tests.lab.fuzz.oracle import OVERLOADED, promise
from tests.support.raw_websocket import BINARY, TEXT, connect, frame

AT_MOST = 90  # seconds
SLOW = 1.5  # seconds; what else keeps others waiting
OWN_KEY = re.compile(rb"f\d+-\d+")


class Shrinker:
    """Tries frames one by one, each on a socket of its own."""

    def __init__(self, hunt):
        self.hunt = hunt
        self._dice = random.Random()
        self._end = time.monotonic() + AT_MOST

    async def smallest(self, suspects):
        """(payload, is_text, what happens), or None if no frame alone does it."""
        for payload, is_text in suspects:
            if time.monotonic() > self._end:
                break
            if await self.what_happens(payload, is_text):
                small = await self._shrink(payload, is_text)
                return small, is_text, await self.what_happens(small, is_text)
        return None

    async def _shrink(self, payload, is_text):
        """Leave out as much as one can, in ever smaller pieces."""
        size = len(payload) // 2
        while size and time.monotonic() < self._end:
            at = 0
            while at < len(payload):
                less = payload[:at] + payload[at + size :]
                if is_text:
                    less = less.decode(errors="ignore").encode()
                if await self._happens_again(less, is_text):
                    payload = less
                else:
                    at += size
            size //= 2
        return payload

    async def _happens_again(self, payload, is_text):
        """Twice: the log may be late with what another frame did."""
        first = await self.what_happens(payload, is_text)
        return first and await self.what_happens(payload, is_text)

    async def what_happens(self, payload, is_text):
        """The fault that this frame causes; "" if none, or if no answer is due."""
        if not promise(payload, is_text).answers:
            return ""
        payload = OWN_KEY.sub(b"f0-%d" % self._dice.getrandbits(60), payload)
        if not self.hunt.server.is_running:
            self.hunt.server.start()
        self.hunt.forget_log()
        try:
            return await self._try(payload, is_text)
        except Finding as finding:
            return finding.what
        except TimeoutError:
            return "no answer"
        except (AssertionError, OSError) as error:
            return str(error)

    async def _try(self, payload, is_text):
        heard = asyncio.Queue()
        owner = self.hunt.crew.talkers[0]
        wire = await connect(
            self.hunt.server.port,
            owner.path,
            owner.cookie,
            lambda opcode, payload: heard.put_nowait((opcode, payload)),
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await self._hear(wire, heard, {"welcome"})
                began = time.monotonic()
                wire.write(frame(payload, TEXT if is_text else BINARY))
                answer = await self._hear(wire, heard, {"ack", "notice", "error"})
                seconds = time.monotonic() - began
        finally:
            wire.drop()
        due = promise(payload, is_text)
        what = answer.get("code", answer["type"])
        assert answer.get("key") == due.key, f"answered {answer}, not to {due.key!r}"
        assert what in due.answers | OVERLOADED, f"answered {answer}"
        assert seconds < SLOW, f"answered only after {seconds:.1f} s"
        self.hunt.look_at_log()
        return ""

    async def _hear(self, wire, heard, types):
        """The next frame of these types; looks at the log while it waits."""
        wire.closed.add_done_callback(lambda _closed: heard.put_nowait((None, None)))
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    opcode, payload = await heard.get()
            except TimeoutError:
                self.hunt.look_at_log()
                continue
            assert opcode is not None, f"closed with {wire.closed.result()}"
            if opcode == TEXT and orjson.loads(payload)["type"] in types:
                return orjson.loads(payload)
