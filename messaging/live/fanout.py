"""One frame to many sockets, and which sockets those are."""

import asyncio
from collections import defaultdict

YIELD_EVERY = 100  # sockets written to before the loop may do something else


async def write_to_all(sockets, frame: bytes) -> None:
    """Send one frame to many; made ready once where the server can take it so."""
    wire = None
    for count, socket in enumerate(list(sockets), start=1):
        if socket.frames is None:
            await socket.deliver(frame)
        else:
            wire = wire or socket.frames.encode(frame)
            socket.write(wire)
        if count % YIELD_EVERY == 0:
            await asyncio.sleep(0)


class Groups(defaultdict):
    """{key: set of sockets}, without empty sets."""

    def __init__(self) -> None:
        super().__init__(set)

    def add(self, key, socket) -> None:
        self[key].add(socket)

    def drop(self, key, socket) -> None:
        """As often as one likes."""
        self[key].discard(socket)
        if not self[key]:
            del self[key]
