"""From a commit to the sockets: what the apps below signal goes to this process's hub.

A process without a hub (a command) has nothing to do: the others find the new numbers
at their next poll.
"""

from accounts.signals import session_ended
from messaging.history import Record
from messaging.live import runtime
from messaging.protocol import EventFields
from rooms.signals import appended


def listen() -> None:
    appended.connect(_grown, dispatch_uid="messaging")
    session_ended.connect(_ended, dispatch_uid="messaging")


def _grown(room_id, epoch, events, **_signal) -> None:
    if live := runtime.current():
        records = [Record.of(EventFields.of(event)) for event in events]
        _tell(live, live.hub.grown, room_id, epoch, records)


def _ended(session_hash, successor, **_signal) -> None:
    if live := runtime.current():
        _tell(live, live.hub.session_ended, session_hash, successor is not None)


def _tell(live, call, *args) -> None:
    """Signals are sent in whatever thread did the work; the hub lives in its loop."""
    live.loop.call_soon_threadsafe(call, *args)
