"""One frame to many sockets."""

import asyncio
import logging
from collections.abc import Iterable

from django.utils.translation import gettext_lazy as _

from messaging.live.sockets import LiveSocket
from messaging.protocol import Close

logger = logging.getLogger(__name__)

YIELD_EVERY = 100  # sockets written to before the loop may do something else


async def write_to_all(sockets: Iterable[LiveSocket], frame: bytes) -> None:
    """Send one frame to many; made ready once where the server can take it so. What
    goes wrong with one socket closes that one."""
    wire = None
    for count, socket in enumerate(list(sockets), start=1):
        try:
            if socket.frames is None:
                await socket.deliver(frame)
            else:
                wire = wire or socket.frames.encode(frame)
                socket.write(wire)
        except Exception:
            logger.exception("a socket could not be written to; it is closed")
            # Before anything else is written: a later frame would leave a hole.
            await socket.close_with(Close.RESTART, _("Try again in a moment."))
        if count % YIELD_EVERY == 0:
            await asyncio.sleep(0)
