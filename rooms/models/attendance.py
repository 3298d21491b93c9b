from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import User

HEARTBEAT_EVERY = 2  # seconds
DEAD_AFTER = timedelta(seconds=8)
GRACE = timedelta(seconds=10)


class Cause(models.TextChoices):
    """Why somebody left."""

    CLOSED = "closed", _("closed the page")
    SIGNED_OUT = "signed out", _("signed out")
    TIMED_OUT = "timed out", _("the line went silent")
    KICKED = "kicked", _("was put out")
    LOST = "lost", _("their server died")
    SHUTDOWN = "shutdown", _("the server stopped")
    DELETED = "deleted", _("the room was deleted")


# Who leaves so is gone at once: no page of theirs will come back within the grace.
WITHOUT_GRACE = {Cause.SIGNED_OUT, Cause.KICKED}


class NodeQuerySet(models.QuerySet):
    def running(self):
        return self.filter(stopped_at=None)

    def silent(self):
        """Those that should be running but have not been heard for too long."""
        return self.running().filter(heartbeat__lt=Now() - DEAD_AFTER)

    def unvisited(self):
        """Those that stopped, and that no visit tells of."""
        return self.filter(stopped_at__isnull=False, visits=None)

    def stop(self):
        """They are no more; one that lives all the same finds out at its next beat."""
        return self.update(stopped_at=Now())


class Node(models.Model):
    """One incarnation of a server process. All times are of the database's clock."""

    name = models.CharField(_("name"), max_length=100)
    started_at = models.DateTimeField(_("started"), db_default=Now())
    heartbeat = models.DateTimeField(_("heartbeat"), db_default=Now())
    stopped_at = models.DateTimeField(_("stopped"), null=True)

    objects = NodeQuerySet.as_manager()

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        indexes = [
            models.Index(
                fields=["heartbeat"], condition=Q(stopped_at=None), name="running_nodes"
            )
        ]

    def __str__(self):
        return self.name

    def beat(self):
        """Say that this process lives; False if it was declared dead meanwhile."""
        mine = Node.objects.running().filter(pk=self.pk)
        return bool(mine.update(heartbeat=Now()))


class VisitQuerySet(models.QuerySet):
    def open(self):
        return self.filter(closed_at=None)

    def unsettled(self):
        """Visits of people who count as being here: no leave has been written yet."""
        return self.filter(settled=False)

    def older_than(self, days):
        """Visits that were over so many days ago; nothing will change them any more."""
        return self.filter(settled=True, closed_at__lt=Now() - timedelta(days=days))

    def orphaned(self):
        """Open visits whose server process is no more."""
        return self.open().exclude(node__stopped_at=None)


class Visit(models.Model):
    """One socket's stay of a person in a room.

    A person is *here* from the first open visit until all have been closed for a grace
    time; then a `leave` is written to the log and their visits are `settled`. Visits
    change only while the head of their room is locked.
    """

    room = models.ForeignKey(
        "Room", models.CASCADE, related_name="visits", verbose_name=_("room")
    )
    user = models.ForeignKey(
        User, models.CASCADE, related_name="visits", verbose_name=_("person")
    )
    node = models.ForeignKey(
        Node, models.PROTECT, related_name="visits", verbose_name=_("node")
    )
    opened_at = models.DateTimeField(_("opened"))
    closed_at = models.DateTimeField(_("closed"), null=True)
    cause = models.CharField(_("cause"), max_length=16, choices=Cause, blank=True)
    settled = models.BooleanField(default=False)

    objects = VisitQuerySet.as_manager()

    class Meta:
        verbose_name = _("visit")
        verbose_name_plural = _("visits")
        constraints = [
            models.CheckConstraint(
                condition=Q(closed_at=None, cause="")
                | Q(closed_at__gte=F("opened_at")) & ~Q(cause=""),
                name="a_closed_visit_has_a_cause",
            ),
            models.CheckConstraint(
                condition=Q(settled=False) | Q(closed_at__isnull=False),
                name="only_closed_visits_are_settled",
            ),
        ]
        indexes = [
            models.Index(
                fields=["room", "user"],
                condition=Q(settled=False),
                name="unsettled_visits",
            ),
            models.Index(
                fields=["closed_at"],
                condition=Q(settled=False, closed_at__isnull=False),
                name="closed_unsettled_visits",
            ),
            models.Index(
                fields=["node"], condition=Q(closed_at=None), name="open_visits"
            ),
        ]

    def __str__(self):
        return f"{self.user_id} in {self.room_id}"
