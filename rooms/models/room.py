from django.db import models, transaction
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import User
from accounts.names import FoldedNameField, NameField, SkeletonField, fold
from rooms.models.log import Event, Head, writing
from rooms.moderation import KEPT_DELETED, MAX_TOPIC, Moderation, one_line
from rooms.quota import allow_another_room
from rooms.rights import Role

COUNTED_MEMBERS = 1_000
COUNT_MEMBERS = """
    SELECT count(*) FROM (
        SELECT FROM rooms_membership WHERE room_id = rooms_room.id LIMIT %s
    ) AS counted
"""


class RoomQuerySet(models.QuerySet):
    def named(self, name):
        """The room of that name, however it is cased or composed; or none."""
        return self.filter(slug=fold(name))

    def of(self, user):
        """The rooms that `user` is a member of."""
        return self.filter(memberships__user=user)

    def in_use(self):
        return self.filter(archived_at=None)

    def due(self):
        """Those that were deleted so long ago that they are to be removed for good."""
        return self.filter(deleted_at__lt=Now() - KEPT_DELETED)

    def with_heads(self):
        """With `room.head`, which carries the counts, read along."""
        return self.select_related("head")

    def with_member_counts(self):
        """With `members_count`, which is COUNTED_MEMBERS + 1 at most: a page of rooms
        costs the same however many members they have."""
        count = RawSQL(COUNT_MEMBERS, [COUNTED_MEMBERS + 1])  # noqa: S611  ours
        return self.annotate(members_count=count)

    @transaction.atomic
    def create_with_owner(self, name, owner, topic="", *, by_operator=False):
        """Make a room; `owner` is its first member.

        Raises IntegrityError if the name is taken, Refused if the topic is no line or
        if `owner` has made ROOMS_PER_DAY already; an operator may make more for them.
        """
        if not by_operator:
            allow_another_room(owner)
        room = self.create(name=name, topic=one_line(topic, MAX_TOPIC))
        with writing(room.pk) as log:
            room.memberships.create(user=owner, role=Role.OWNER, joined_seq=1)
            log.append(room.pk, Event.Kind.JOIN, owner)
        return room


class RoomManager(models.Manager.from_queryset(RoomQuerySet)):
    """The rooms that people can find; those that were deleted are hidden."""

    def get_queryset(self):
        return super().get_queryset().filter(deleted_at=None)


class Room(Moderation, models.Model):
    """A room. What happens in it is in rooms/moderation.py, and in its log."""

    name = NameField(pgettext_lazy("of a room", "name"))
    # Ordered by code point, as on any machine, so that one index finds a name, names
    # that begin alike, and the next page of them.
    slug = FoldedNameField(
        of="name",
        db_collation="C",
        error_messages={"unique": _("There’s already a room with this name.")},
    )
    skeleton = SkeletonField(of="name")
    topic = models.CharField(_("topic"), max_length=MAX_TOPIC, blank=True)
    floor = models.BigIntegerField(
        _("floor"), default=1, help_text=_("The lowest number that is still shown.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    archived_at = models.DateTimeField(_("archived"), null=True, blank=True)
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True)
    members = models.ManyToManyField(User, through="Membership", related_name="rooms")

    objects = RoomManager()
    everything = RoomQuerySet.as_manager()  # with those that were deleted

    class Meta:
        ordering = ["slug"]
        verbose_name = _("room")
        verbose_name_plural = _("rooms")
        constraints = [
            models.CheckConstraint(condition=Q(floor__gte=1), name="floor_is_a_number")
        ]
        indexes = [
            models.Index(
                fields=["slug"], condition=Q(archived_at=None), name="rooms_in_use"
            )
        ]

    def __str__(self):
        return self.name

    @transaction.atomic
    def save(self, *args, **kwargs) -> None:
        is_new = self._state.adding
        super().save(*args, **kwargs)
        if is_new:
            Head.objects.create(room=self)

    def get_absolute_url(self):
        return reverse("messaging:room", args=[self.slug])
