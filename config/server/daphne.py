"""The server: Daphne, with our limits."""

import asyncio
import gc
import sys
from contextlib import suppress

from daphne.server import Server as Daphne
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from config.server import frames, insides, last_resort, request_limits, systemd
from config.server.socket_limits import Socket
from messaging.live import runtime

# Of the 40 s that a service manager gives; last_resort.py ends what takes 32.
DRAIN_WITHIN = 15  # seconds
FINISH_WITHIN = 5
# Autobahn cuts its time-outs to whole seconds of the clock: one of 1 s, as it has for
# the answer to a close, may end at once, and the close frame with it.
CLOSE_WITHIN = 5
FRAME = 256 * 1024  # bytes; Daphne holds one limit for both ways
# A database thread that has its answer waits this long for the interpreter while the
# loop writes to sockets. With Python's 5 ms, several times a transaction, the p99 of a
# hot room was twice as long.
SWITCH_INTERVAL = 0.0005  # seconds
# What was loaded at the start lives for ever: the collector need not look at it again.
# A full look at all sockets and events stops the loop for longer than a frame may take,
# so it comes after a million new objects, not after 70 thousand. After 20 million it
# would come too late: a connection that ends leaves cycles, and they added up to 1.6 KB
# each.
GC_THRESHOLDS = (10_000, 20, 5)


class Server(Daphne):
    def __init__(self, application, listener, on_ready) -> None:
        super().__init__(
            application,
            endpoints=[listener],
            http_timeout=30,
            websocket_timeout=-1,
            websocket_connect_timeout=5,
            websocket_max_message_size=FRAME,
            websocket_max_frame_size=FRAME,
            # The interval is the longer one, or a second ping would overlap the first.
            ping_interval=25,
            ping_timeout=20,
            # Ours end by themselves; after a freeze all of them would seem to be late.
            application_close_timeout=60,
            ready_callable=self.listen,
            server_name="",
            **proxy_headers(),
        )
        self.endpoints = []  # Daphne would open them by itself
        self.listener = listener
        self.on_ready = on_ready

    def listen(self) -> None:
        self.ws_factory.protocol = Socket
        # (setProtocolOptions would forget what Daphne allows: it has defaults.)
        self.ws_factory.closeHandshakeTimeout = CLOSE_WITHIN
        self.listener.listen(request_limits.Factory(self))
        reactor.callWhenRunning(last_resort.stand_by)
        # Once the reactor runs, and heeds signals: one that came between would be lost.
        reactor.callWhenRunning(self.on_ready)
        reactor.callWhenRunning(systemd.tell_while_alive)

    def kill_all_applications(self):
        """Called before the reactor stops, which waits for what this returns. Daphne's
        own cuts all sockets at once, and trips over connections without a request."""
        return Deferred.fromFuture(asyncio.ensure_future(self.drain()))

    async def drain(self) -> None:
        systemd.tell("STOPPING=1")
        self.listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_WITHIN):
                if live := runtime.current():
                    await live.drain()
        await self.finish_requests()

    async def finish_requests(self) -> None:
        running = [
            details["application_instance"]
            for details in self.connections.values()
            if "application_instance" in details
        ]
        if running:
            _done, late = await asyncio.wait(running, timeout=FINISH_WITHIN)
            for application in late:
                application.cancel()

    def create_application(self, protocol, scope):
        if scope["type"] == "websocket":
            scope["extensions"] = {frames.EXTENSION: frames.FrameWriter(protocol)}
        return super().create_application(protocol, scope)


def proxy_headers():
    if not settings.TRUST_PROXY:
        return {}
    return {
        "proxy_forwarded_address_header": "X-Forwarded-For",
        "proxy_forwarded_port_header": "X-Forwarded-Port",
        "proxy_forwarded_proto_header": "X-Forwarded-Proto",
    }


def run(application, listener, on_ready) -> None:
    """Serve until a signal says stop, then close this process's stays in the rooms."""
    insides.check()
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    Server(application, listener, on_ready).run()
    runtime.stop()
