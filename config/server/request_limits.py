"""A request below its page: what a stranger's bytes may cost everybody else.

Daphne stores a body of any size before the application sees it, and Twisted gives a
client that sends a byte now and then as long as it likes. Here a request has a largest
size, and a time within which all of it must have arrived.
"""

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.web.http import RESPONSES, HTTPChannel

MAX_BODY = 64 * 1024  # bytes; forms are all that is sent here, and Nginx says the same
MAX_HEADERS = 100
WITHIN = 15  # seconds for a whole request, and between two on one connection
LISTEN_ON = 2  # seconds

TOO_LARGE = 413


class Request(WebRequest):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # Django reads forms; read here as well, a large one stops the loop for 70 ms.
        self._parsePOSTFormSubmission = False

    def handleContentChunk(self, data) -> None:
        """Called while a body comes, also one that did not say how long it is."""
        if self.content.tell() + len(data) > MAX_BODY:
            self.channel.refuse(TOO_LARGE)
        else:
            super().handleContentChunk(data)


class Channel(HTTPChannel):
    """A connection that brings requests."""

    maxHeaders = MAX_HEADERS
    _is_refused = False
    _has_begun = False

    def dataReceived(self, data) -> None:
        if self._is_refused:
            return
        if not self._has_begun and not self._handlingRequest:
            self._has_begun = True
            self.setTimeout(WITHIN)
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """More bytes win no more time."""

    def allHeadersReceived(self) -> None:
        if self.length is not None and self.length > MAX_BODY:
            self.refuse(TOO_LARGE)
        else:
            super().allHeadersReceived()

    def rawDataReceived(self, data) -> None:
        if not self._is_refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        if not self._is_refused:
            super().allContentReceived()

    def requestDone(self, request) -> None:
        self._has_begun = False
        super().requestDone(request)

    def refuse(self, status) -> None:
        """Answer, and forget what still comes for a while: a connection that is closed
        with unread bytes is reset, and the answer is lost with it."""
        if self._is_refused:
            return
        self._is_refused = True
        self.setTimeout(LISTEN_ON)
        reason = RESPONSES[status]
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (status, reason, len(reason), reason)
        )
        self.transport.loseWriteConnection()


class Factory(HTTPFactory):
    protocol = Channel

    def __init__(self, server) -> None:
        super().__init__(server)
        self.timeOut = WITHIN

    def buildProtocol(self, addr):
        channel = super().buildProtocol(addr)
        channel.requestFactory = Request
        return channel
