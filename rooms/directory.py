"""The list of rooms, one page at a time: it costs the same with ten and with 50,000.

Pages follow each other by name (each begins after the last name of the one before it),
so that each is one range of an index. On the first page the rooms with most people in
them now come before the others.
"""

from dataclasses import dataclass

from accounts.names import fold
from rooms.models import Room

PAGE = 30  # rooms
LIVELY = 10  # rooms
BOUND = 255  # characters; no folded name has more


@dataclass(frozen=True)
class Question:
    """Which rooms somebody wants to see: those whose names begin with `name`, `after`
    or `before` a name, of all rooms or of their own. Names are folded."""

    name: str = ""
    after: str = ""
    before: str = ""
    mine: bool = False

    @classmethod
    def of(cls, query):
        """Read from a query string, where anything may stand."""
        return cls(
            name=_name(query.get("q", "").strip().removeprefix("#")),
            after=_name(query.get("after", "")),
            before=_name(query.get("before", "")),
            mine="mine" in query,
        )

    @property
    def is_for_the_first_page(self):
        return self == Question()


def _name(text):
    return fold(text[:BOUND])[:BOUND]


@dataclass(frozen=True)
class Page:
    """Some rooms, each with `head`, `members_count` and `role`, which is that of the
    person who asks, or None. `before` and `after` are names from which other pages go
    on, "" where there are none."""

    lively: list
    rooms: list
    before: str
    after: str


def look(user, asked):
    """The Page that answers a Question of `user`, in three queries at most."""
    lively = _lively() if asked.is_for_the_first_page else []
    rooms = _chosen(user, asked).exclude(pk__in=[room.pk for room in lively])
    some, has_before, has_after = _page(rooms, asked)
    _tell_roles(user, [*lively, *some])
    return Page(
        lively,
        some,
        before=some[0].slug if has_before else "",
        after=some[-1].slug if has_after else "",
    )


def _listed(rooms):
    return rooms.in_use().with_heads().with_member_counts()


def _lively():
    """The rooms with most people in them now; among equals the oldest, so that an index
    has their order."""
    occupied = _listed(Room.objects.filter(head__here__gt=0))
    rooms = occupied.order_by("-head__here", "head__room_id")[:LIVELY]
    return sorted(rooms, key=lambda room: (-room.head.here, room.slug))


def _chosen(user, asked):
    rooms = Room.objects.of(user) if asked.mine else Room.objects.all()
    return _listed(rooms.filter(slug__startswith=asked.name) if asked.name else rooms)


def _page(rooms, asked):
    """(rooms in order, whether there are some before them, whether some after)."""
    if asked.before:
        some = list(rooms.filter(slug__lt=asked.before).order_by("-slug")[: PAGE + 1])
        return some[:PAGE][::-1], len(some) > PAGE, bool(some)
    if asked.after:
        rooms = rooms.filter(slug__gt=asked.after)
    some = list(rooms.order_by("slug")[: PAGE + 1])
    return some[:PAGE], bool(some and asked.after), len(some) > PAGE


def _tell_roles(user, rooms) -> None:
    here = user.memberships.filter(room__in=rooms)
    roles = dict(here.values_list("room_id", "role"))
    for room in rooms:
        room.role = roles.get(room.pk)
