from allauth.account.decorators import secure_admin_login
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.shortcuts import redirect
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.forms import PersonForm
from accounts.models import NAME_TAKEN, User
from accounts.names import fold
from accounts.security_record import SecurityRecord

# The admin has no sign-in of its own: it would have no limit on attempts.
admin.site.login = secure_admin_login(admin.site.login)


@admin.register(User)
class PeopleAdmin(UserAdmin):
    add_form = PersonForm
    add_fieldsets = [
        (None, {"fields": ["username", "email", "password1", "password2"]}),
    ]
    fieldsets = [
        (None, {"fields": ["username", "email", "password"]}),
        (
            _("Rights"),
            {
                "fields": [
                    "is_active",
                    "is_staff",
                    "is_superuser",
                    "groups",
                    "user_permissions",
                ]
            },
        ),
        (_("Dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    readonly_fields = ["last_login", "date_joined"]
    list_display = ["username", "email", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["slug", "email"]
    ordering = ["slug"]
    actions = ["deactivate"]

    def get_search_results(self, request, queryset, search_term):
        return super().get_search_results(request, queryset, fold(search_term))

    def changeform_view(self, request, *args, **kwargs):
        try:
            return super().changeform_view(request, *args, **kwargs)
        except IntegrityError:
            self.message_user(request, NAME_TAKEN, messages.ERROR)
            return redirect(request.get_full_path())

    @admin.action(
        description=_("Deactivate, and end their sessions"), permissions=["change"]
    )
    def deactivate(self, request, queryset):
        people = queryset.filter(is_active=True).exclude(pk=request.user.pk)
        count = 0
        for person in people:
            person.is_active = False
            person.save(update_fields=["is_active"])
            self.log_change(request, person, "deactivated")
            count += 1
        told = ngettext(
            "%(count)s person is deactivated.",
            "%(count)s people are deactivated.",
            count,
        )
        self.message_user(request, told % {"count": count})


class OlderLinkPaginator(Paginator):
    """One page, and whether there is more: a table too large to count."""

    @cached_property
    def count(self):
        return len(self.object_list.values("pk")[: self.per_page + 1])


@admin.register(SecurityRecord)
class SecurityRecordAdmin(admin.ModelAdmin):
    """To look at; nobody adds, changes or deletes here. Older pages are found by key,
    so each costs the same."""

    list_display = ["at", "kind", "name", "address", "browser_in_words", "detail"]
    list_filter = ["kind"]
    search_fields = ["slug__startswith"]
    search_help_text = _("How a name begins.")
    ordering = ["-pk"]
    sortable_by = []
    paginator = OlderLinkPaginator
    show_full_result_count = False
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_search_results(self, request, queryset, search_term):
        return super().get_search_results(request, queryset, fold(search_term))

    def lookup_allowed(self, lookup, value, request):
        return lookup == "pk__lt" or super().lookup_allowed(lookup, value, request)

    def changelist_view(self, request, extra_context=None):
        answer = super().changelist_view(request, extra_context)
        pages = getattr(answer, "context_data", {}).get("cl")
        if pages and pages.multi_page:
            last = pages.result_list[len(pages.result_list) - 1]
            older = pages.get_query_string({"pk__lt": last.pk}, remove=["p"])
            answer.context_data["older"] = older
        return answer

    @admin.display(description=_("browser"))
    def browser_in_words(self, record):
        return record.browser_in_words
