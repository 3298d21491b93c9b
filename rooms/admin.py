"""The admin of rooms: to look, and to mend by the same verbs that the page uses."""

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.db.models import OuterRef, Subquery
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from rooms.forms import RoomNameField, TopicField
from rooms.models import Event, Membership, Node, Room, Visit
from rooms.models.log import TEXTS
from rooms.moderation import KEPT_DELETED, MAX_REASON
from rooms.numbers import read_number
from rooms.rights import Refused, Role

MAX_PAGES = 999_999  # that can be asked for by number


class ReasonForm(ActionForm):
    """An action, and why: the reason becomes part of the room's log."""

    reason = forms.CharField(
        label=_("Reason:"), required=False, max_length=MAX_REASON, strip=True
    )


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request, obj=None) -> bool:
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        return False

    def has_delete_permission(self, request, obj=None) -> bool:
        return False


class UncountedPaginator(Paginator):
    """Pages of a table too large to count: it looks one row beyond the page on show,
    and knows of as many pages as that proves."""

    number = 1

    @cached_property
    def count(self):
        start = (self.number - 1) * self.per_page
        proof = self.object_list.values("pk")[start : start + self.per_page + 1]
        return start + len(proof)


class UncountedAdmin(admin.ModelAdmin):
    paginator = UncountedPaginator
    show_full_result_count = False
    actions_selection_counter = (
        False  # it would offer to select all, and not know how many
    )
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER

    def get_paginator(self, request, *args, **kwargs):
        paginator = super().get_paginator(request, *args, **kwargs)
        page = read_number(request.GET.get("p", ""), MAX_PAGES)
        paginator.number = max(1, page or 1)
        return paginator


def act_on_each(model_admin, request, queryset, verb) -> None:
    """Do `verb(row)` to each, and tell what was done and what was refused."""
    done = 0
    for row in queryset:
        try:
            verb(row)
            done += 1
        except Refused as refused:
            model_admin.message_user(
                request, f"{row}: {refused.detail}", messages.ERROR
            )
    if done:
        told = gettext("Done: %(count)s.")
        model_admin.message_user(request, told % {"count": done})


LAST_AT = Subquery(
    Event.objects.filter(room=OuterRef("pk"), seq=OuterRef("head__seq")).values("at")
)


class RoomAdminForm(forms.ModelForm):
    topic = TopicField(label=_("Topic"))


class NewRoomAdminForm(RoomAdminForm):
    name = RoomNameField(label=_("Name"))


@admin.register(Room)
class RoomAdmin(UncountedAdmin):
    list_display = [
        "name",
        "topic",
        "people_here",
        "events",
        "last_activity",
        "archived_at",
        "deleted_at",
    ]
    list_filter = ["archived_at", "deleted_at"]
    search_fields = ["slug", "topic"]
    readonly_fields = [
        "people_here",
        "members_link",
        "events",
        "floor",
        "created_at",
        "archived_at",
        "deleted_at",
    ]
    form = RoomAdminForm
    action_form = ReasonForm
    actions = ["clear_history", "archive", "reopen", "delete_rooms", "bring_back"]

    def get_queryset(self, request):
        """With the rooms that were deleted, until `purge` begins with them."""
        rooms = Room.everything.filter(head__isnull=False).with_heads()
        return rooms.annotate(last_at=LAST_AT).order_by(*self.get_ordering(request))

    def get_form(self, request, obj=None, **kwargs):
        if obj is None:
            kwargs["form"] = NewRoomAdminForm
        return super().get_form(request, obj, **kwargs)

    def get_fields(self, request, obj=None):
        return ["name", "topic", *(self.readonly_fields if obj else [])]

    def get_readonly_fields(self, request, obj=None):
        return ["name", *self.readonly_fields] if obj else []

    def has_delete_permission(self, request, obj=None) -> bool:
        return False  # the action hides it; rows are removed by `purge` alone

    def changeform_view(self, request, *args, **kwargs):
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Refused as refused:
            detail = refused.detail
        except IntegrityError:  # somebody took the name just now
            detail = gettext("There’s already a room with this name.")
        self.message_user(request, detail, messages.ERROR)
        return redirect(request.get_full_path())

    def save_model(self, request, obj, form, change) -> None:
        if not change:
            made = Room.objects.create_with_owner(obj.name, request.user, obj.topic)
            obj.pk, obj.slug = made.pk, made.slug
        elif "topic" in form.changed_data:
            obj.set_topic(form.cleaned_data["topic"], by=request.user)

    @admin.display(description=_("here now"), ordering="head__here")
    def people_here(self, room):
        return room.head.here

    @admin.display(description=_("events"), ordering="head__seq")
    def events(self, room):
        return room.head.seq

    @admin.display(description=_("last activity"))
    def last_activity(self, room):
        return room.last_at

    @admin.display(description=_("memberships"))
    def members_link(self, room):
        """To a list of their own, for there may be any number."""
        address = reverse("admin:rooms_membership_changelist")
        address += f"?room__id__exact={room.pk}"
        return format_html('<a href="{}">{}</a>', address, gettext("Show them"))

    @admin.action(description=_("Clear history"), permissions=["change"])
    def clear_history(self, request, queryset) -> None:
        reason = request.POST.get("reason", "")
        act_on_each(self, request, queryset, lambda r: r.clear(request.user, reason))

    @admin.action(description=_("Archive"), permissions=["change"])
    def archive(self, request, queryset) -> None:
        act_on_each(self, request, queryset, lambda r: r.archive(request.user))

    @admin.action(description=_("Unarchive"), permissions=["change"])
    def reopen(self, request, queryset) -> None:
        act_on_each(self, request, queryset, lambda r: r.archive(request.user, False))

    @admin.action(description=_("Delete …"), permissions=["change"])
    def delete_rooms(self, request, queryset):
        if "confirmed" in request.POST:
            act_on_each(self, request, queryset, lambda r: r.delete_room(request.user))
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Delete rooms?"),
            "opts": self.opts,
            "rooms": queryset,
            "days": KEPT_DELETED.days,
        }
        return TemplateResponse(request, "admin/rooms/room/delete_rooms.html", context)

    @admin.action(description=_("Recover"), permissions=["change"])
    def bring_back(self, request, queryset) -> None:
        act_on_each(self, request, queryset, lambda r: r.recover_room(request.user))


@admin.register(Membership)
class MembershipAdmin(UncountedAdmin):
    list_display = ["user", "room", "role", "joined_at"]
    list_filter = ["role"]
    list_select_related = ["user", "room"]
    ordering = ["-pk"]
    search_fields = ["user__slug", "=room__slug"]
    readonly_fields = ["room", "user", "role", "joined_at", "joined_seq"]
    action_form = ReasonForm
    actions = ["kick", "make_owner", "make_moderator", "make_member"]

    def has_add_permission(self, request) -> bool:
        return False

    def has_delete_permission(self, request, obj=None) -> bool:
        return False  # kicking does it, and says so in the log

    @admin.action(description=_("Remove from room"), permissions=["change"])
    def kick(self, request, queryset) -> None:
        reason = request.POST.get("reason", "")
        act_on_each(
            self, request, queryset, lambda m: m.room.kick(m.user, request.user, reason)
        )

    @admin.action(description=_("Make owner"), permissions=["change"])
    def make_owner(self, request, queryset) -> None:
        self._give(request, queryset, Role.OWNER)

    @admin.action(description=_("Make moderator"), permissions=["change"])
    def make_moderator(self, request, queryset) -> None:
        self._give(request, queryset, Role.MODERATOR)

    @admin.action(description=_("Make member"), permissions=["change"])
    def make_member(self, request, queryset) -> None:
        self._give(request, queryset, Role.MEMBER)

    def _give(self, request, queryset, role) -> None:
        act_on_each(
            self,
            request,
            queryset,
            lambda m: m.room.give_role(m.user, role, request.user),
        )


@admin.register(Event)
class EventAdmin(UncountedAdmin, ReadOnlyAdmin):
    """The log. The text of messages is for those who were in the room."""

    list_display = ["room", "seq", "at", "actor", "kind", "target", "written", "data"]
    list_select_related = ["room", "actor", "target", "text"]
    list_display_links = ["seq"]
    list_filter = ["kind"]
    search_fields = ["=room__slug"]
    search_help_text = _("The exact name of a room.")
    ordering = ["-room_id", "-seq"]
    sortable_by = []

    @admin.display(description=_("reason or topic"))
    def written(self, event):
        return event.written if event.kind in TEXTS else ""


@admin.register(Visit)
class VisitAdmin(UncountedAdmin, ReadOnlyAdmin):
    list_display = ["user", "room", "opened_at", "closed_at", "cause", "node"]
    list_select_related = ["user", "room", "node"]
    search_fields = ["=user__slug", "=room__slug"]
    search_help_text = _("The exact name of a person or a room.")
    ordering = ["-pk"]
    sortable_by = []


@admin.register(Node)
class NodeAdmin(UncountedAdmin, ReadOnlyAdmin):
    list_display = ["name", "started_at", "heartbeat", "stopped_at"]
    ordering = ["-pk"]
