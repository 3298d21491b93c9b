"""The event loop that Daphne's reactor turns: uvloop's.

In a hot room at 2,000 messages a second it took a fifth off the p99 (docs/FANOUT.md).
"""

import socket

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor


class Reactor(AsyncioSelectorReactor):
    """Twisted's on asyncio, which also hears of the end of a connection that was reset.

    After an error on a descriptor uvloop calls its reader once more, and then never
    again (libuv stops watching it). That one read may still find words that came before
    the error; so here all is read, to the end, as long as there is a word.
    """

    def _readOrWrite(self, selectable, read) -> None:
        ends = read and _has_failed(selectable)
        super()._readOrWrite(selectable, read)
        while ends and selectable in self._readers:
            super()._readOrWrite(selectable, read)


def _has_failed(selectable):
    connection = getattr(selectable, "socket", None)
    return connection and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def install() -> None:
    """To be called before anything imports Daphne, which else brings asyncio's own."""
    installReactor(Reactor(uvloop.new_event_loop()))
