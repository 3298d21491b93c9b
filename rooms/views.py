from functools import wraps

from allauth.account.internal.flows.login import record_authentication
from allauth.core.ratelimit import consume_or_429
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError
from django.http import Http404, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from rooms import directory, last_room
from rooms.forms import (
    ActForm,
    ClearForm,
    KickForm,
    RestoreForm,
    RoleForm,
    RoomForm,
    TopicForm,
    WelcomeForm,
    is_new,
)
from rooms.json_answers import NO_SUCH_ROOM, SIGNED_OUT, refuse
from rooms.models import Event, Room
from rooms.models.room import COUNTED_MEMBERS
from rooms.rights import Refused
from rooms.setup_code import is_needed


def find_room(slug):
    """The room with its head, found by any way of writing its name; Http404 if none."""
    return get_object_or_404(Room.objects.with_heads().named(slug))


# Pages -------------------------------------------------------------------------------


@require_safe
def home(request):
    """To the room one was in last, else to the list; a new installation is set up."""
    if not request.user.is_authenticated:
        return redirect("rooms:welcome" if is_new() else "account_login")
    rooms = Room.objects.of(request.user).in_use()
    room = rooms.filter(pk=last_room.recall(request)).first()
    return redirect(room or "rooms:index")


@require_http_methods(["GET", "HEAD", "POST"])
def welcome(request):
    """The operator makes the admin and the first room; others are sent on."""
    if not is_new():
        return redirect("rooms:home")
    if is_needed() and (limited := consume_or_429(request, action="setup_code")):
        return limited
    form = WelcomeForm(request.POST or None)
    if form.is_valid() and (admin := form.save()):
        record_authentication(request, admin, "password")
        login(request, admin, backend="accounts.backends.PeopleBackend")
        return redirect(form.made)
    status = 422 if form.is_bound else 200
    return render(request, "rooms/welcome.html", {"form": form}, status=status)


@login_required
@require_safe
def index(request):
    """The rooms, some at a time, with how many people are in each now."""
    asked = directory.Question.of(request.GET)
    context = {
        "asked": asked,
        "page": directory.look(request.user, asked),
        "counted_members": COUNTED_MEMBERS,
        "form": RoomForm(),
    }
    return render(request, "rooms/index.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def create(request):
    form = RoomForm(request.POST or None)
    if form.is_valid():
        try:
            return redirect(
                Room.objects.create_with_owner(
                    form.cleaned_data["name"],
                    request.user,
                    topic=form.cleaned_data["topic"],
                )
            )
        except IntegrityError:  # somebody took the name just now
            form.add_error("name", _("There’s already a room with this name."))
        except Refused as refused:
            form.add_error(None, refused.detail)
    status = 422 if form.is_bound else 200
    return render(request, "rooms/create.html", {"form": form}, status=status)


# Acts: docs/PROTOCOL.md, "Acts by HTTP" ----------------------------------------------


def act(form=ActForm):
    """A form of a room's page. `view(request, room, **fields)` does it and returns the
    event."""

    def decorate(view):
        @require_POST
        @wraps(view)
        def wrapped(request, slug):
            answer = _answer_json if _wants_json(request) else _answer_page
            if not request.user.is_authenticated:
                return answer(request, slug, refused=SIGNED_OUT)
            try:
                room, fields = find_room(slug), form(request.POST).read()
                return answer(request, slug, event=view(request, room, **fields))
            except Refused as refused:
                return answer(request, slug, refused=refused)
            except Http404:
                if not _wants_json(request):
                    raise
                return answer(request, slug, refused=NO_SUCH_ROOM)

        return wrapped

    return decorate


def _wants_json(request) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def _answer_json(request, slug, event=None, refused=None):
    return refuse(refused) if refused else JsonResponse({"seq": event and event.seq})


def _answer_page(request, slug, event=None, refused=None):
    page = reverse("messaging:room", args=[slug])
    if refused is SIGNED_OUT:
        return redirect_to_login(page)
    if refused and refused.code != "removed":  # this one the page says by itself
        messages.error(request, refused.detail)
    elif event and event.kind == Event.Kind.DELETE_ROOM:
        page = reverse("rooms:index")
    return redirect(page)


@act()
def join(request, room):
    return room.admit(request.user)


@act()
def leave(request, room):
    return room.part(request.user)


@act(KickForm)
def kick(request, room, user, reason):
    return room.kick(user, request.user, reason)


@act(RoleForm)
def role(request, room, user, role):
    return room.give_role(user, role, request.user)


@act(TopicForm)
def topic(request, room, topic):
    return room.set_topic(topic, request.user)


@act(ClearForm)
def clear(request, room, reason):
    return room.clear(request.user, reason)


@act(RestoreForm)
def restore(request, room, seq):
    return room.restore(seq, request.user)


@act()
def delete_room(request, room):
    return room.delete_room(request.user)
