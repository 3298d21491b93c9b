"""What a post that starts with a slash does. (`//` says a slash.)"""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from rooms.models import Room
from rooms.moderation import find_person
from rooms.rights import Refused


@dataclass(frozen=True, slots=True)
class Speech:
    """A post that says something after all."""

    body: str
    me: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A post that does something: the command's name and what follows it."""

    name: str
    rest: str


def parse(body):
    """A Speech or a Command."""
    if not body.startswith("/"):
        return Speech(body)
    if body.startswith("//"):
        return Speech(body[1:])
    name, _space, rest = body[1:].partition(" ")
    name, rest = name.strip().lower(), rest.strip()
    if name == "me" and rest:
        return Speech(rest, me=True)
    return Command(name, rest)


def run(command, user, room_id):
    """Do a command (sync). The Event it caused, or a text to show to `user` alone.

    Raises Refused.
    """
    action = COMMANDS.get(command.name)
    if action is None:
        name = command.name[:32]
        return _("Unknown command: /%(name)s. Type /help to see all commands.") % {
            "name": name
        }
    room = Room.objects.filter(pk=room_id).first()
    if room is None:
        raise Refused("not_allowed", _("This room no longer exists."))
    return action(room, user, command.rest)


def _help(room, user, rest):
    return "\n".join(
        [
            _("/me waves – describe what you’re doing"),
            _("/topic text – set the topic"),
            _("/kick name reason – remove somebody from the room (also /kill)"),
            _("/clear reason – clear the history; it can be restored"),
            _("//text – send a message that starts with a slash"),
        ]
    )


def _me(room, user, rest):
    return _("Add what you’re doing: /me waves")


def _topic(room, user, rest):
    return room.set_topic(rest, by=user)


def _kick(room, user, rest):
    name, _space, reason = rest.partition(" ")
    if not name:
        return _("Add a name: /kick name reason")
    return room.kick(find_person(name), by=user, reason=reason)


def _clear(room, user, rest):
    return room.clear(by=user, reason=rest)


COMMANDS = {
    "help": _help,
    "me": _me,
    "topic": _topic,
    "kick": _kick,
    "kill": _kick,
    "clear": _clear,
}
