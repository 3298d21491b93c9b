from datetime import timedelta

import orjson
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from messaging import history, protocol
from messaging.models import MAX_BODY
from messaging.protocol import BadFrame
from rooms import last_room
from rooms.json_answers import SIGNED_OUT, refuse
from rooms.models import Head, Installation, Room
from rooms.moderation import KEPT_DELETED
from rooms.removals import in_minutes, removal_of
from rooms.rights import rights
from rooms.views import find_room

MAX_PAGE = 200
FIRST_PAGE_BYTES = 256 * 1024  # of the events that come with the page itself
OWN_ROOMS = 100  # of somebody, beside a room; the list of rooms has them all


@login_required
@require_safe
def room(request, slug):
    """The page of a room; for who is no member of it, the offer to join."""
    membership = request.user.memberships.with_rooms().named(slug).first()
    if membership is None:
        return _offer(request, find_room(slug))
    room = membership.room
    own_rooms = Room.objects.of(request.user).in_use().with_heads()
    own_rooms = list(own_rooms[: OWN_ROOMS + 1])
    context = {
        "room": room,
        "rooms": own_rooms[:OWN_ROOMS],
        "has_more_rooms": len(own_rooms) > OWN_ROOMS,
        "membership": membership,
        "may": rights(request.user, membership.role),
        "kick_minutes": in_minutes(timedelta(seconds=settings.KICK_SECONDS)),
        "deleted_days": KEPT_DELETED.days,
        "page": _page_data(request.user, room, membership),
    }
    response = render(request, "messaging/room.html", context)
    last_room.remember(response, room)
    return response


def _offer(request, room):
    """To join, or why one cannot."""
    context = {
        "room": room,
        "here": room.head.here,
        "removal": removal_of(request.user, room),
    }
    return render(request, "rooms/join.html", context)


def _page_data(user, room, membership):
    """What the page's scripts start from: as in a welcome, and the newest lines."""
    page = history.page(room, room.head.seq, size=FIRST_PAGE_BYTES)
    return {
        **history.snapshot(room, protocol.MAX_HERE)._asdict(),
        "you": {**protocol.person(user), "role": membership.role},
        "here_count": room.head.here,
        "urls": _urls(room),
        "limits": {"body": MAX_BODY, "kick": settings.KICK_SECONDS},
        "may": rights(user, membership.role),
        "events": page.events,
        "more_before": page.more_before,
        "more_after": page.more_after,
    }


def _urls(room):
    acts = ("kick", "role", "topic", "clear", "restore", "delete_room")
    return {
        **{act: reverse(f"rooms:{act}", args=[room.slug]) for act in acts},
        "socket": f"/ws/rooms/{room.slug}/",
        "log": reverse("messaging:log", args=[room.slug]),
        "rooms": reverse("rooms:index"),
        "session": reverse("accounts:session"),
        "sign_in": reverse("account_login"),
    }


@require_safe
def log(request, slug):
    """One page of a room's log as JSON; docs/PROTOCOL.md, "The log by HTTP"."""
    if not request.user.is_authenticated:
        return refuse(SIGNED_OUT)
    room = get_object_or_404(Room.objects.of(request.user).named(slug))
    try:
        place = _place(request.GET)
    except BadFrame as bad:
        return refuse(bad)
    head = Head.objects.get(room=room).seq
    page = history.page(room, head, **place)
    epoch = Installation.current().epoch
    answer = {
        "epoch": epoch,
        "head": head,
        "floor": room.floor,
        "events": [orjson.Fragment(record.json) for record in page.records],
        "more_before": page.more_before,
        "more_after": page.more_after,
    }
    return HttpResponse(protocol.encode(answer), content_type="application/json")


def _place(query):
    """Where in the log, as arguments of `history.page`; BadFrame if it is nowhere."""
    names = {"before", "after", "around"} & set(query)
    if len(names) > 1:
        raise BadFrame("bad_field", _("Use only one of before, after and around."))
    place = {name: protocol.read_seq(query[name], name) for name in names}
    if "limit" in query:
        place["limit"] = protocol.read_seq(query["limit"], "limit")
        if not 1 <= place["limit"] <= MAX_PAGE:
            detail = _("“limit” must be from 1 to %(max)s.") % {"max": MAX_PAGE}
            raise BadFrame("bad_field", detail)
    return place
