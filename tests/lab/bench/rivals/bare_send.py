"""The unbatched limit: a frame in, one `send` to each socket. `PORT`. No parsing, no
buffers, no rights, nothing stored."""

import base64
import hashlib
import selectors
import socket
import struct
import sys
from contextlib import suppress

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=2048)
selector = selectors.EpollSelector()
selector.register(listener, selectors.EVENT_READ)
live, inputs = set(), {}


def frames(data):
    """The payloads of the whole frames in `data` (masked with zeros), and the rest."""
    payloads = []
    while len(data) >= 6:
        size, start = data[1] & 127, 6
        if size == 126:
            size, start = struct.unpack("!H", data[2:4])[0], 8
        if len(data) < start + size:
            break
        payloads.append(data[start : start + size])
        data = data[start + size :]
    return payloads, data


def framed(payload):
    size = len(payload)
    head = struct.pack("!BB", 0x81, size) if size < 126 else None
    return (head or struct.pack("!BBH", 0x81, 126, size)) + payload


def shake_hands(one, request):
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    one.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    one.send(framed(b"ready"))
    live.add(one)


while True:
    for key, _events in selector.select():
        one = key.fileobj
        if one is listener:
            one, _address = listener.accept()
            selector.register(one, selectors.EVENT_READ)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            inputs[one] = b""
            continue
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        if not data:
            selector.unregister(one)
            live.discard(one)
            one.close()
        elif one not in live:
            shake_hands(one, data)
        else:
            payloads, inputs[one] = frames(inputs[one] + data)
            for payload in payloads:
                frame = framed(payload)
                for other in live:
                    with suppress(OSError):  # it is closing
                        other.send(frame)
