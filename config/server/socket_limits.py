"""A socket below its messages: what a stranger's bytes may cost everybody else.

Daphne reads as fast as it can, answers every ping, and queues every message for the
application, which may be waiting for the database, or counting messages. So here, too,
somebody counts: what is no message (pings, pongs, pieces of a message) is allowed as
often as messages are; and nothing more is read while the application is behind.
"""

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor

from messaging.live.limits import Bucket
from messaging.protocol import Close

READ = 4 * 1024  # bytes a turn of the loop; in 64 KiB are ten thousand pings, 0.3 s
MAX_QUEUED = 64  # messages that wait for the application, or one that is long
LOOK_AGAIN = 0.02  # seconds
NEW_MESSAGE = {1, 2}  # opcodes (RFC 6455, 11.8)


class Socket(WebSocketProtocol):
    """Our end of a socket, with a limit on what the application never sees."""

    def serverClose(self, code=None) -> None:
        """Close with any code a server may send.

        Autobahn takes 1000 and 3000 to 4999 from an application; but 1012, "service
        restart", is no endpoint's own (IANA, WebSocket Close Code Number Registry).
        """
        self.sendCloseFrame(code=1000 if code is None else code)

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.bufferSize = READ
        self._bucket = Bucket()
        self._is_paused = False

    def onFrameBegin(self) -> None:
        super().onFrameBegin()
        if self.current_frame.opcode in NEW_MESSAGE or self.state != self.STATE_OPEN:
            return
        self._bucket.take()
        if self._bucket.flooded:
            self.sendClose(code=int(Close.FLOODING))

    def onMessage(self, payload, isBinary) -> None:
        super().onMessage(payload, isBinary)
        much = len(payload) > READ or self.application_queue.qsize() >= MAX_QUEUED
        if much and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()
            reactor.callLater(LOOK_AGAIN, self._go_on)

    def _go_on(self) -> None:
        """Read on, once the application has taken all."""
        if self.application_queue.qsize() and self.state == self.STATE_OPEN:
            reactor.callLater(LOOK_AGAIN, self._go_on)
        else:
            self._is_paused = False
            self.transport.resumeProducing()
