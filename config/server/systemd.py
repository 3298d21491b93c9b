"""What systemd wants to know of a service: that it is ready, alive, about to stop.

Datagrams to $NOTIFY_SOCKET, as sd_notify(3) has it; without one, nobody is told.
"""

import os
import socket
from contextlib import suppress

from twisted.internet.task import LoopingCall


def tell(state) -> None:
    """`state` is READY=1, WATCHDOG=1 or STOPPING=1."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract names
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.setblocking(False)
        notify.sendto(state.encode(), address)


def tell_while_alive() -> None:
    """Twice in the time that systemd gives, while Twisted's loop turns."""
    tell("READY=1")
    if given := int(os.environ.get("WATCHDOG_USEC", 0)):
        LoopingCall(tell, "WATCHDOG=1").start(given / 1e6 / 2)
