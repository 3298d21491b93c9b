"""An aiohttp server that loops over its sockets: `PORT`. It stores nothing."""

import sys
from contextlib import suppress

from aiohttp import WSMsgType, web

sockets = set()


async def chat(request):
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    sockets.add(socket)
    await socket.send_str("ready")
    try:
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                for other in list(sockets):
                    with suppress(ConnectionError):  # it is closing
                        await other.send_str(message.data)
    finally:
        sockets.discard(socket)
    return socket


app = web.Application()
app.router.add_get("/", chat)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
