"""Who may do what: one table, read by pages, sockets, admin and commands alike."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """A member's role in a room."""

    OWNER = "owner", _("owner")
    MODERATOR = "moderator", _("moderator")
    MEMBER = "member", _("member")


class Act(models.TextChoices):
    """What a person may want to do in a room."""

    READ = "read"
    POST = "post"
    LEAVE = "leave"
    TOPIC = "topic"
    KICK = "kick"
    CLEAR = "clear"
    RESTORE = "restore"
    ROLE = "role"
    ARCHIVE = "archive"
    DELETE_ROOM = "delete_room"
    RECOVER_ROOM = "recover_room"


# Which roles may, and whether a superuser may without being a member. A superuser
# neither reads nor speaks unseen: for that they join, like anybody.
MEMBERS = {Role.OWNER, Role.MODERATOR, Role.MEMBER}
MODERATORS = {Role.OWNER, Role.MODERATOR}
OWNERS = {Role.OWNER}
TABLE = {
    # act         roles       superuser
    Act.READ: (MEMBERS, False),
    Act.POST: (MEMBERS, False),
    Act.LEAVE: (MEMBERS, False),
    Act.TOPIC: (MODERATORS, True),
    Act.KICK: (MODERATORS, True),
    Act.CLEAR: (MODERATORS, True),
    Act.RESTORE: (MODERATORS, True),
    Act.ROLE: (OWNERS, True),
    Act.ARCHIVE: (OWNERS, True),
    # An owner only while nobody else has spoken there: `Room.delete_room`.
    Act.DELETE_ROOM: (OWNERS, True),
    Act.RECOVER_ROOM: (set(), True),
}
RANK = {None: 0, Role.MEMBER: 1, Role.MODERATOR: 2, Role.OWNER: 3}
ON_LOWER_ROLES_ONLY = {Act.KICK}
# An archived room keeps showing what it showed. One can still read and leave it; its
# owners and moderators decide who is in it, and an owner opens it again.
NOT_WHILE_ARCHIVED = {Act.POST, Act.TOPIC, Act.CLEAR, Act.RESTORE}


def may(user, act, role, target_role=None) -> bool:
    """Whether `user`, whose role in the room is `role` (None: no member), may do `act`.

    `target_role` is the role of the person it is done to, where it is done to one.
    Unknown acts, and people who are signed out or deactivated, are refused.
    """
    if not (user.is_authenticated and user.is_active and act in TABLE):
        return False
    roles, superuser = TABLE[act]
    if superuser and user.is_superuser:
        return True
    if act in ON_LOWER_ROLES_ONLY and RANK[target_role] >= RANK[role]:
        return False
    return role in roles


def rights(user, role):
    """All that `user` with `role` may do, as {act: bool}; what a page shows."""
    return {act.value: may(user, act, role) for act in TABLE}


class Refused(Exception):
    """An act was not allowed or not possible; nothing was changed.

    `code` is one of the error codes of docs/PROTOCOL.md, `detail` a sentence.
    """

    def __init__(self, code, detail) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
