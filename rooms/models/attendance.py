"""Who was in a room, and when: the visits of sockets, and the events they make.

All verbs here take an open `Log` (see rooms/models/log.py) or open one, so that a visit
and the event that tells of it are one transaction. They are set-based: the number of
statements does not grow with the number of people.
"""

import math
import time
from collections import defaultdict
from datetime import timedelta
from typing import NamedTuple

from django.db import OperationalError, connection, models
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Greatest, Now
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from rooms.models.log import Event, locked, timestamp, waited_in_vain, writing

HEARTBEAT_EVERY = 2  # seconds
DEAD_AFTER = timedelta(seconds=8)
GRACE = timedelta(seconds=10)


class Cause(models.TextChoices):
    """Why somebody left."""

    CLOSED = "closed", _("page closed")
    SIGNED_OUT = "signed out", _("signed out")
    TIMED_OUT = "timed out", _("connection lost")
    KICKED = "kicked", _("removed")
    LOST = "lost", _("server failure")
    SHUTDOWN = "shutdown", _("server stopped")
    DELETED = "deleted", _("room deleted")


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
        """Declare them dead; one that still runs finds out by its next renewal."""
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

    def renew(self):
        """Say that this process runs; False if it was declared dead meanwhile."""
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

    def __str__(self) -> str:
        return f"{self.user_id} in {self.room_id}"


# Verbs --------------------------------------------------------------------------------

# Any number that no other program on the database uses as an advisory lock.
SWEEP_LOCK = 0x0507_1CA1


class NewVisit(NamedTuple):
    """The visit of a socket that enters a room."""

    room_id: int
    user: User
    role: str
    node_id: int


def enter(log, new_visits):
    """Store each NewVisit; whoever was not present enters.

    Returns the visits in the order of `new_visits`.
    """
    present = _present({(new.room_id, new.user.pk) for new in new_visits})
    for new in new_visits:
        if (new.room_id, new.user.pk) not in present:
            present.add((new.room_id, new.user.pk))
            log.append(new.room_id, Event.Kind.ENTER, new.user, role=new.role)
    return Visit.objects.bulk_create(
        Visit(
            room_id=new.room_id,
            user=new.user,
            node_id=new.node_id,
            opened_at=log.now,
        )
        for new in new_visits
    )


def close_visits(log, causes) -> None:
    """Close visits, given as {visit_id: cause}; those already closed stay as they are.

    Whoever signs out, with no page left, exits at once; others after a grace.
    """
    visits = Visit.objects.open().filter(pk__in=causes)
    at_once = [
        (visit.room_id, visit.user)
        for visit in visits.select_related("user")
        if causes[visit.pk] in WITHOUT_GRACE
    ]
    _close(visits, causes, log.now)
    settle(log, at_once)


def close_unheld(places, held) -> None:
    """Close the open visits of some servers to some rooms, given as (node_id, room_id),
    but those whose ids are in `held`."""
    with writing(*{room_id for _node_id, room_id in places}) as log:
        strays = Visit.objects.open().filter(
            node_id__in={node_id for node_id, _room_id in places},
            room_id__in=log.rooms,
        )
        strays.exclude(pk__in=held).update(
            closed_at=Greatest("opened_at", log.now), cause=Cause.TIMED_OUT
        )


def end_visits(log, room_id, user, cause) -> None:
    """Close all visits of a person to a room, and write that they left."""
    visits = Visit.objects.open().filter(room_id=room_id, user=user)
    visits.update(closed_at=Greatest("opened_at", log.now), cause=cause)
    settle(log, [(room_id, user)])


def end_all_visits(log, room_id, cause) -> None:
    """Close all visits to a room, and write that everybody there left."""
    open_visits = Visit.objects.open().filter(room_id=room_id)
    open_visits.update(closed_at=Greatest("opened_at", log.now), cause=cause)
    present = User.objects.filter(visits__room=room_id, visits__settled=False)
    settle(log, [(room_id, user) for user in present.distinct()])


def settle(log, pairs) -> None:
    """Write a leave for each (room_id, user) here whose visits have all been closed."""
    people = {(room_id, user.pk): user for room_id, user in pairs}
    if not people:
        return
    gone = _gone(log, people)
    Visit.objects.filter(pk__in=[visit.pk for visit in gone]).update(settled=True)
    for (room_id, user_id), last in _last_closed(gone).items():
        user = people[room_id, user_id]
        seen = timestamp(last.closed_at)
        log.append(room_id, Event.Kind.LEAVE, user, cause=last.cause, seen=seen)


def sweep(within=math.inf):
    """Do what is due, in the one process that gets the lock: mend the visits of dead
    servers, and write the leaves whose grace is over. After `within` seconds what is
    left waits for the next sweep.

    Returns the number of people who left; None where another process is at it.
    """
    ends_at = time.monotonic() + within
    with writing() as _none:
        if not _try_lock():
            return None
        Node.objects.silent().stop()
        rooms = Visit.objects.orphaned().values_list("room_id", flat=True).distinct()
        rooms = set(rooms) | set(_due().values_list("room_id", flat=True))
        rooms -= locked(rooms)  # their turn comes again
    left = 0
    for room_id in sorted(rooms):
        if time.monotonic() < ends_at:
            left += _sweep_unless_locked(room_id)
    return left


def stop_node(node):
    """Close the visits of a server process that stops, and stop it."""
    mine = Visit.objects.open().filter(node=node)
    rooms = set(mine.values_list("room_id", flat=True))
    try:
        _stop_node(node, mine, rooms)
    except OperationalError as error:
        if not waited_in_vain(error):
            raise
        _stop_node(node, mine, rooms - locked(rooms))  # a sweep comes to the others


def _stop_node(node, mine, rooms) -> None:
    with writing(*rooms) as log:
        Node.objects.running().filter(pk=node.pk).stop()
        mine.filter(room_id__in=log.rooms).update(
            closed_at=Greatest("opened_at", Now()), cause=Cause.SHUTDOWN
        )


def _sweep_unless_locked(room_id):
    """One room's lock keeps no other from being swept; its turn comes again."""
    try:
        return _sweep_room(room_id)
    except OperationalError as error:
        if not waited_in_vain(error):
            raise
        return 0


def _sweep_room(room_id):
    with writing(room_id) as log:
        if not _try_lock():  # another process has begun a sweep, and does it
            return 0
        orphaned = Visit.objects.orphaned().filter(room_id=room_id)
        orphaned.update(closed_at=_last_sign_of_life(), cause=Cause.LOST)
        due = list(_due().filter(room_id=room_id).values_list("user_id", flat=True))
        before = log.head(room_id)
        settle(log, [(room_id, user) for user in User.objects.filter(pk__in=due)])
        return log.head(room_id) - before


def _last_sign_of_life():
    """When a visit's server was last heard, but not before the visit began."""
    heartbeat = Node.objects.filter(pk=OuterRef("node_id")).values("heartbeat")
    return Greatest(Subquery(heartbeat), "opened_at")


def _due():
    """(room_id, user_id) of the people here whose last page closed a grace ago.

    It looks at closed visits alone, by an index of theirs: those are few, while all who
    are present have an open one.
    """
    over = Now() - GRACE
    theirs = Q(room_id=OuterRef("room_id"), user_id=OuterRef("user_id"))
    still_here = Visit.objects.unsettled().filter(theirs, _open_or_closed_after(over))
    return (
        Visit.objects.unsettled()
        .filter(~Exists(still_here), closed_at__lt=over)
        .values("room_id", "user_id")
        .order_by("room_id", "user_id")
        .distinct()
    )


def _open_or_closed_after(moment):
    return Q(closed_at=None) | Q(closed_at__gte=moment)


def _present(pairs):
    visits = Visit.objects.unsettled().filter(
        room_id__in={room_id for room_id, _ in pairs},
        user_id__in={user_id for _, user_id in pairs},
    )
    return set(visits.values_list("room_id", "user_id")) & pairs


def _gone(log, people):
    """The unsettled visits of those of `people` who have no open one."""
    still_open = Visit.objects.open().filter(
        room_id=OuterRef("room_id"), user_id=OuterRef("user_id")
    )
    visits = Visit.objects.unsettled().filter(
        ~Exists(still_open),
        room_id__in=log.rooms,
        user_id__in={user_id for _, user_id in people},
    )
    return [visit for visit in visits if (visit.room_id, visit.user_id) in people]


def _last_closed(visits):
    last = {}
    for visit in sorted(visits, key=lambda visit: (visit.closed_at, visit.pk)):
        last[visit.room_id, visit.user_id] = visit
    return last


def _close(visits, causes, now) -> None:
    by_cause = defaultdict(list)
    for pk, cause in causes.items():
        by_cause[cause].append(pk)
    for cause, pks in by_cause.items():
        closed_at = Greatest("opened_at", now)
        visits.filter(pk__in=pks).update(closed_at=closed_at, cause=cause)


def _try_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SWEEP_LOCK])
        return cursor.fetchone()[0]
