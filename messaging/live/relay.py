"""Hints between server processes, over the channel layer, as long as it works.

A hint carries what a room's log has grown by. It may be lost, late or doubled: the
numbers tell, and the hubs read PostgreSQL. So nothing here ever waits for Redis on
behalf of a person, and nothing here ever fails: it only gets slower.
"""

import asyncio
import contextlib
import logging
import secrets
import time

from channels.layers import channel_layers

logger = logging.getLogger(__name__)

EVERYBODY = "rollcall"
PUBLISH_WITHIN = 0.25  # seconds
PAUSE_AFTER_FAILURE = 1.0
PROBE_EVERY = 2.0
SILENT_AFTER = 5.0
MAX_OUTGOING = 1_000  # rooms with hints that wait; more are left to the others' poll
MAX_HINT = 256 * 1024  # bytes of events in one hint; above it, only their numbers


def group_of(room_id) -> str:
    return f"room.{room_id}"


class Relay:
    """This process's one channel of the layer, a member of one group a room it shows.

    `on_hint(message)` is called for every message of another process, `on_connect()`
    whenever messages may have been missed.
    """

    def __init__(self, on_hint, on_connect) -> None:
        self._on_hint = on_hint
        self._on_connect = on_connect
        self._me = secrets.token_hex(8)
        self._groups = {EVERYBODY}
        self._channel = None
        self._outgoing: dict = {}  # {room_id: (epoch, records)}
        # {session's name: whether the browser goes on}
        self._ended: dict[str, bool] = {}
        self._has_outgoing = asyncio.Event()
        self._quiet_until = 0.0
        self._heard = time.monotonic()

    @property
    def is_connected(self):
        """Whether hints come and go, as far as the last probe tells."""
        heard_lately = time.monotonic() - self._heard < SILENT_AFTER
        return self._channel is not None and heard_lately

    # Out ------------------------------------------------------------------------------

    def publish(self, room_id, epoch, records) -> None:
        """Tell the other processes that the room's log grew by `records`."""
        if room_id not in self._outgoing and len(self._outgoing) >= MAX_OUTGOING:
            return
        if self._outgoing.setdefault(room_id, (epoch, []))[0] != epoch:
            self._outgoing[room_id] = (epoch, [])
        self._outgoing[room_id][1].extend(records)
        self._has_outgoing.set()

    def publish_session_end(self, name, goes_on) -> None:
        """Tell the other processes that a session, called `name`, has ended."""
        self._ended[name] = goes_on
        self._has_outgoing.set()

    async def send(self) -> None:
        """Send what waits, for ever; one message a room, whatever waited."""
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            ended, self._ended = self._ended, {}
            for name, goes_on in ended.items():
                end = {"session": name, "goes_on": goes_on}
                await self._try_send(EVERYBODY, end)
            outgoing, self._outgoing = self._outgoing, {}
            for room_id, news in outgoing.items():
                await self._try_send(group_of(room_id), _hint(room_id, *news))

    async def _try_send(self, group, message) -> None:
        if time.monotonic() < self._quiet_until:
            return
        message = {"type": "hint", "from": self._me, **message}
        try:
            async with asyncio.timeout(PUBLISH_WITHIN):
                await _layer().group_send(group, message)
        except Exception as error:
            self._quiet_until = time.monotonic() + PAUSE_AFTER_FAILURE
            logger.warning("the channel layer does not take hints: %r", error)

    # In -------------------------------------------------------------------------------

    async def follow(self, room_id) -> None:
        """Hear the hints of this room from now on, if the layer works."""
        self._groups.add(group_of(room_id))
        await self._change_group("group_add", group_of(room_id))

    async def unfollow(self, room_id) -> None:
        self._groups.discard(group_of(room_id))
        await self._change_group("group_discard", group_of(room_id))

    async def _change_group(self, change, group) -> None:
        if self._channel is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PUBLISH_WITHIN):
                await getattr(_layer(), change)(group, self._channel)
                return
        # A group that was not joined is heard by nobody: begin anew, with all groups.
        self._heard = 0.0

    async def listen(self) -> None:
        """Hear what the others publish, for ever; connect again whenever it breaks."""
        while True:
            try:
                await self._connect()
                await self._hear()
            except Exception as error:
                logger.warning("the channel layer is out of reach: %r", error)
            self._channel = None
            await _forget_layer()
            await asyncio.sleep(PAUSE_AFTER_FAILURE)

    async def _connect(self) -> None:
        async with asyncio.timeout(SILENT_AFTER):
            self._channel = await _layer().new_channel("rollcall.")
            for group in list(self._groups):
                await _layer().group_add(group, self._channel)
        self._heard = time.monotonic()
        self._on_connect()

    async def _hear(self) -> None:
        """Returns when the layer has been silent for too long.

        A subscriber can go deaf without an error (redis-py #2417), so the process
        sends itself a probe and wants to hear it.
        """
        receiving = asyncio.create_task(self._receive(self._channel))
        try:
            while (
                time.monotonic() - self._heard < SILENT_AFTER and not receiving.done()
            ):
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(PUBLISH_WITHIN):
                        await _layer().send(self._channel, {"type": "probe"})
                await asyncio.wait([receiving], timeout=PROBE_EVERY)
            logger.warning("the channel layer has gone silent; connecting again")
        finally:
            receiving.cancel()

    async def _receive(self, channel) -> None:
        while True:
            message = await _layer().receive(channel)
            self._heard = time.monotonic()
            if message["type"] == "hint" and message["from"] != self._me:
                self._on_hint(message)


def _hint(room_id, epoch, records):
    fits = sum(len(record.json) for record in records) <= MAX_HINT
    return {
        "room": room_id,
        "epoch": epoch,
        "first": records[0].seq,
        "last": records[-1].seq,
        "records": [list(record) for record in records] if fits else [],
    }


def _layer():
    return channel_layers["default"]


async def _forget_layer() -> None:
    """Drop the layer with its connections; the next use makes a new one.

    Its own `flush` waits for a lock that a hanging command may hold, hence the limit.
    """
    layer = channel_layers.backends.pop("default", None)
    if layer is not None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(SILENT_AFTER):
                await layer.flush()
