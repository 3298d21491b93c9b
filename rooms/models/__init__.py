from rooms.models.attendance import Node, Visit
from rooms.models.installation import Installation
from rooms.models.log import Event, EventText, Head
from rooms.models.membership import Membership
from rooms.models.room import Room

__all__ = [
    "Event",
    "EventText",
    "Head",
    "Installation",
    "Membership",
    "Node",
    "Room",
    "Visit",
]
