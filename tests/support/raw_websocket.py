"""WebSocket by hand (RFC 6455): what a library would never send, and all it answers."""

import asyncio
import struct

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUED = 0x0
FIN = 0x80
MASKED = 0x80
NO_MASK = b"\x00\x00\x00\x00"  # allowed, and costs nothing
DROPPED = 1006  # no close frame came
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\nOrigin: http://{host}\r\nCookie: {cookie}\r\n\r\n"
)


def frame(payload, opcode=TEXT, *, fin=FIN, reserved=0, mask=NO_MASK, size=None):
    """A frame to the server. `size` is what its header claims, if not the truth."""
    size = len(payload) if size is None else size
    masked = 0 if mask is None else MASKED
    first = fin | reserved << 4 | opcode
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    return head + (mask or b"") + masked_with(mask, payload)


def masked_with(mask, payload):
    if not mask or mask == NO_MASK:
        return payload
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Wire(asyncio.Protocol):
    """One socket to the server. `hear(opcode, payload)` is called for each frame that
    comes; `closed` is a future of the close code, or of a refusal's HTTP status."""

    def __init__(self, request, hear):
        self._request = request
        self._hear = hear
        self._buffer = bytearray()
        self._upgraded = False
        self._code = DROPPED
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self._request)

    def connection_lost(self, error):
        if not self.closed.done():
            self.closed.set_result(self._code)

    def data_received(self, data):
        self._buffer += data
        if self._upgraded or self._is_upgraded():
            for opcode, payload in self._frames():
                self._take(opcode, payload)

    def _is_upgraded(self):
        head, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if end and not head.startswith(b"HTTP/1.1 101 "):
            self._code = int(head[9:12])
            self.transport.abort()
            return False
        if end:
            self._upgraded = True
            self._buffer = bytearray(rest)
        return self._upgraded

    def _frames(self):
        """The whole frames that are in the buffer, which are taken out of it."""
        buffer, at, frames = self._buffer, 0, []
        while len(buffer) >= at + 2:
            size, head = buffer[at + 1] & 0x7F, 2
            if size == 126:
                size, head = int.from_bytes(buffer[at + 2 : at + 4]), 4
            elif size == 127:
                size, head = int.from_bytes(buffer[at + 2 : at + 10]), 10
            end = at + head + size
            if len(buffer) < end:
                break
            frames.append((buffer[at] & 0x0F, bytes(buffer[at + head : end])))
            at = end
        del buffer[:at]
        return frames

    def _take(self, opcode, payload):
        if opcode == PING:
            self.write(frame(payload, PONG))
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2]) or 1005
            self.write(frame(payload[:2], CLOSE))
        self._hear(opcode, payload)

    def write(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    def drop(self):
        """The line is lost, without a word."""
        self.transport.abort()


async def connect(port, path, cookie, hear):
    """A Wire whose handshake is under way; what comes tells how it went."""
    host = f"127.0.0.1:{port}"
    request = HANDSHAKE.format(path=path, host=host, cookie=cookie).encode()
    loop = asyncio.get_running_loop()
    _transport, wire = await loop.create_connection(
        lambda: Wire(request, hear), "127.0.0.1", port
    )
    return wire
