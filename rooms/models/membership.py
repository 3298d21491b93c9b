from datetime import datetime
from typing import NamedTuple

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.names import fold
from rooms.rights import Role


class Standing(NamedTuple):
    """What decides what a person may do in a room; a user to `may`."""

    role: str
    is_active: bool
    is_superuser: bool
    archived_at: datetime | None
    is_authenticated = True


class MembershipQuerySet(models.QuerySet):
    def named(self, name):
        """Those in the room of that name; see `RoomQuerySet.named`."""
        return self.filter(room__slug=fold(name), room__deleted_at=None)

    def with_rooms(self):
        """With `membership.room` and its head read along."""
        return self.select_related("room__head")

    def standings(self, room_ids, user_ids):
        """{(room_id, user_id): Standing} of those who are members."""
        members = self.filter(room_id__in=room_ids, user_id__in=user_ids)
        rows = members.filter(room__deleted_at=None).values_list(
            "room_id",
            "user_id",
            "role",
            "user__is_active",
            "user__is_superuser",
            "room__archived_at",
        )
        return {(row[0], row[1]): Standing(*row[2:]) for row in rows}


class Membership(models.Model):
    """A person may be in a room."""

    room = models.ForeignKey(
        "Room", models.CASCADE, related_name="memberships", verbose_name=_("room")
    )
    user = models.ForeignKey(
        User, models.PROTECT, related_name="memberships", verbose_name=_("person")
    )
    role = models.CharField(_("role"), max_length=16, choices=Role, default=Role.MEMBER)
    joined_at = models.DateTimeField(_("joined"), db_default=Now())
    joined_seq = models.BigIntegerField(_("joined at number"), default=0)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [
            models.UniqueConstraint(fields=["room", "user"], name="one_membership"),
            models.CheckConstraint(
                condition=Q(role__in=Role.values), name="membership_has_a_role"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.room}"
