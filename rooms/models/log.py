from datetime import UTC

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import User


def timestamp(moment):
    """A moment as the log writes it: UTC, ISO 8601, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class Head(models.Model):
    """The two counters of a room: its log's highest number, and who many are in it.

    They change with every line, so they have a narrow table of their own. Whoever
    locks this row may write to the room's log; nobody else can.
    """

    room = models.OneToOneField("Room", models.CASCADE, primary_key=True)
    seq = models.BigIntegerField(default=0)
    here = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(seq__gte=0, here__gte=0), name="head_counts_up"
            )
        ]
        indexes = [
            models.Index(
                fields=["-here", "room"],
                condition=models.Q(here__gt=0),
                name="lively_rooms",
            )
        ]

    def __str__(self):
        return f"#{self.seq}"


class EventQuerySet(models.QuerySet):
    def of(self, room_id):
        return self.filter(room_id=room_id)

    def between(self, first, last):
        """The events numbered `first` to `last`, both included, in order."""
        return self.filter(seq__gte=first, seq__lte=last).order_by("seq")

    def newest(self, limit):
        """The `limit` events with the highest numbers, in order."""
        return reversed(self.order_by("-seq")[:limit])


class Event(models.Model):
    """One line of a room's log: something happened, and this is its number."""

    class Kind(models.TextChoices):
        MESSAGE = "message", _("said something")
        ENTER = "enter", _("came in")
        LEAVE = "leave", _("went out")
        JOIN = "join", _("became a member")
        PART = "part", _("gave up membership")
        KICK = "kick", _("put somebody out")
        ROLE = "role", _("changed a role")
        TOPIC = "topic", _("changed the topic")
        ARCHIVE = "archive", _("archived or reopened the room")
        CLEAR = "clear", _("cleared the history")
        RESTORE = "restore", _("took a clear back")
        DELETE_ROOM = "delete_room", _("deleted the room")
        RECOVER_ROOM = "recover_room", _("brought the room back")

    room = models.ForeignKey(
        "Room", models.CASCADE, related_name="events", verbose_name=_("room")
    )
    seq = models.BigIntegerField(_("number"))
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    at = models.DateTimeField(_("at"))
    actor = models.ForeignKey(
        User,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        verbose_name=_("actor"),
    )
    target = models.ForeignKey(
        User,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        verbose_name=_("target"),
    )
    about = models.BigIntegerField(_("about"), null=True)
    data = models.JSONField(_("data"), default=dict)

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints = [
            models.UniqueConstraint(fields=["room", "seq"], name="one_event_a_number"),
            models.CheckConstraint(
                condition=models.Q(seq__gte=1), name="event_numbers_start_at_one"
            ),
        ]
        indexes = [
            # Whoever wants to join is asked whether they were removed just now.
            models.Index(
                fields=["room", "target", "-seq"],
                condition=models.Q(kind="kick"),
                name="kicks",
            ),
            # A room's first event is the joining of the person who made it.
            models.Index(
                fields=["actor", "-at"],
                condition=models.Q(seq=1),
                name="rooms_made",
            ),
        ]

    def __str__(self):
        return f"#{self.seq} {self.kind}"

    @property
    def written(self):
        """The text of an event of one of the kinds in TEXTS."""
        if hasattr(self, "text"):
            return self.text.body
        return self.data[TEXTS[self.kind]]  # not moved beside it yet


# The kinds of event, but messages, that a person writes a text with, and what the text
# is called in frames.
TEXTS = {
    Event.Kind.KICK: "reason",
    Event.Kind.TOPIC: "topic",
    Event.Kind.CLEAR: "reason",
}


class EventText(models.Model):
    """The text that a person wrote with an event of one of the kinds in TEXTS.

    It is a row of its own, perhaps an empty one, so that it can be erased while the
    log stays as it was. The text of a message is messaging's.
    """

    event = models.OneToOneField(
        Event, models.CASCADE, primary_key=True, related_name="text"
    )
    body = models.TextField(blank=True)

    def __str__(self):
        return self.body
