"""What the live end of a process asks of a socket, and collections of sockets."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from accounts.models import User
from messaging.writing.requests import Entry

if TYPE_CHECKING:
    from config.server.frames import FrameWriter
    from messaging.live.feed import Feed

CLOSE_AT_ONCE = 20  # sockets closed before the loop may do something else


class LiveSocket(Protocol):
    """One socket of somebody signed in, as the hub and its feeds see it."""

    user: User
    session_hash: str
    feed: "Feed | None"  # of the room that it shows
    frames: "FrameWriter | None"  # None in a server without our extension

    def write(self, wire: bytes) -> None:
        """Send a frame that `frames` encoded; never waits."""

    async def deliver(self, frame: bytes) -> None:
        """Send a frame of JSON."""

    async def ready(self) -> bool:
        """Wait until most of what was sent is on its way; False once it has closed."""

    async def close_with(self, code: int, detail) -> None:
        """Close with a code, after a frame that says why."""

    async def drain(self) -> None:
        """Close because the process stops; the page connects again later."""


class RoomSocket(LiveSocket, Protocol):
    """One that shows a room."""

    entry: Entry


Socket = TypeVar("Socket", bound=LiveSocket)


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


async def in_turns(sockets: Iterable[Socket]) -> AsyncIterator[Socket]:
    """Each of the sockets there are now; the loop does something else between some."""
    for count, socket in enumerate(list(sockets), start=1):
        yield socket
        if count % CLOSE_AT_ONCE == 0:
            await asyncio.sleep(0)
