"""An ASGI extension: a WebSocket frame, made once, written to many sockets.

ASGI's `send` encodes, frames and wraps a message anew for every socket. But a server's
frames are not masked (RFC 6455, 5.1), so the bytes are the same for all. The scope of a
socket carries a FrameWriter; who has none (another server) uses `send`, slower.
"""

import struct

from twisted.internet.main import CONNECTION_LOST

EXTENSION = "rollcall.frames"
FINAL_TEXT = 0x81


class FrameWriter:
    """Writes ready frames to one socket of this server."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol) -> None:
        self._protocol = protocol

    @staticmethod
    def encode(payload):
        """The one text frame that carries `payload` (bytes of UTF-8)."""
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", FINAL_TEXT, size)
        elif size < 65_536:
            head = struct.pack("!BBH", FINAL_TEXT, 126, size)
        else:
            head = struct.pack("!BBQ", FINAL_TEXT, 127, size)
        return head + payload

    def write(self, frame):
        """Write a frame; what the kernel does not take now is kept for later.

        Does nothing when the socket is not open. Returns the bytes that are kept.
        """
        protocol = self._protocol
        if protocol.state != protocol.STATE_OPEN:
            return 0
        transport = protocol.transport
        if not transport.connected or transport.disconnecting:
            return 0
        waiting = self.waiting
        if not waiting:
            # Past Twisted's buffer, which would copy, and write in the next turn.
            sent = transport.writeSomeData(frame)
            if sent is CONNECTION_LOST:
                return 0  # the reactor sees it, too, and tells the application
            if sent == len(frame):
                return 0
            frame = frame[sent:]
        transport.write(frame)
        return waiting + len(frame)

    @property
    def waiting(self):
        """The bytes that the kernel has not taken yet; 0 where it never will."""
        transport = self._protocol.transport
        if not transport.connected:
            return 0
        kept = transport._tempDataLen  # noqa: SLF001  Twisted tells it nowhere else
        return len(transport.dataBuffer) - transport.offset + kept
