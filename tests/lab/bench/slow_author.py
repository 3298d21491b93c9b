"""One person who posts slow texts without pause, beside the load that is measured."""

import asyncio
import json
import threading
from itertools import cycle

from messaging.live.limits import RATE
from tests.support.raw_websocket import connect, frame


class SlowAuthor:
    """Posts `bodies` in turn to a room, as fast as one person may, while it is entered:
    in a thread, on its own socket, whether they are answered or not."""

    def __init__(self, server, path, cookie, bodies):
        self.server, self.path, self.cookie = server, path, cookie
        self.bodies = bodies
        self.answered = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._post()))
        self._going = True

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._going = False
        self._thread.join()

    async def _post(self):
        self._is_in = asyncio.Event()
        wire = await connect(self.server.port, self.path, self.cookie, self._hear)
        async with asyncio.timeout(20):
            await self._is_in.wait()
        for number, body in enumerate(cycle(self.bodies)):
            if not self._going:
                return wire.drop()
            post = {"type": "post", "key": f"slow-{id(self)}-{number}", "body": body}
            wire.write(frame(json.dumps(post).encode()))
            await asyncio.sleep(1 / RATE)

    def _hear(self, _opcode, told):
        if b'"type":"welcome"' in told:
            self._is_in.set()
        self.answered += told.startswith(b'{"type":"ack"')
