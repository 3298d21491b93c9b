"""What a welcome tells of a room: the fold of its log up to one number."""

from itertools import islice

import orjson

from messaging import protocol
from messaging.history import Record, Snapshot
from rooms.models import Event


class RoomState:
    """The room's facts, and who is present, as of the last record applied."""

    def __init__(self, start: Snapshot) -> None:
        self.floor = start.floor
        self.room = start.room
        self.present = {person["id"]: person for person in start.here}

    def apply(self, record: Record) -> None:
        """Go on by one record."""
        if record.kind == Event.Kind.MESSAGE:
            return
        event = orjson.loads(record.json)
        user = event.get("user", {})
        match record.kind:
            case Event.Kind.ENTER:
                entered = {**user, "role": event["role"], "since": event["at"]}
                self.present[user["id"]] = entered
            case Event.Kind.LEAVE:
                self.present.pop(user["id"], None)
            case Event.Kind.ROLE:
                if event["target"]["id"] in self.present:
                    self.present[event["target"]["id"]]["role"] = event["role"]
            case Event.Kind.TOPIC:
                self.room["topic"] = event["topic"]
            case Event.Kind.ARCHIVE:
                self.room["archived"] = event["archived"]
            case Event.Kind.CLEAR:
                self.floor = event["seq"]
            case Event.Kind.RESTORE:
                self.floor = event["floor"]

    @property
    def facts(self) -> dict:
        """The fields of a welcome that are the same for everybody."""
        return {
            "floor": self.floor,
            "room": self.room,
            "here": list(islice(self.present.values(), protocol.MAX_HERE)),
            "here_count": len(self.present),
        }
