from allauth.account import admin as _addresses  # noqa: F401  to be replaced below
from allauth.account.models import EmailAddress
from allauth.mfa import admin as _factors  # noqa: F401  likewise
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.shortcuts import redirect
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts import addresses
from accounts.forms import EditPersonForm, NewPersonForm
from accounts.models import NAME_TAKEN, User
from accounts.names import fold
from accounts.security_record import SecurityRecord

# An address is its person's: it is shown and changed there. A second factor is nobody
# else's (`manage.py remove_second_factor`).
admin.site.unregister([EmailAddress, Authenticator, Group])

PRIVILEGES = ["is_staff", "is_superuser", "groups", "user_permissions"]


def may_touch(user, person):
    """Whoever changes an account can sign in with it. So an account with more rights
    than everybody's is for superusers."""
    return user.is_superuser or not (person.is_staff or person.is_superuser)


@admin.register(Group)
class SuperusersGroupAdmin(GroupAdmin):
    """A group is privileges, for its members to have."""

    def has_module_permission(self, request):
        return request.user.is_superuser

    def has_view_permission(self, request, obj=None):
        return request.user.is_superuser

    has_add_permission = has_change_permission = has_delete_permission = (
        has_view_permission
    )


@admin.register(User)
class PeopleAdmin(UserAdmin):
    form = EditPersonForm
    add_form = NewPersonForm
    add_fieldsets = [
        (None, {"fields": ["username", "email", "password1", "password2"]}),
    ]
    fieldsets = [
        (None, {"fields": ["username", "email", "is_confirmed", "password"]}),
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
    readonly_fields = ["is_confirmed", "last_login", "date_joined"]
    list_display = ["username", "email", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["slug", "email"]
    ordering = ["slug"]
    actions = ["deactivate", "confirm_address"]

    def get_readonly_fields(self, request, obj=None):
        own = super().get_readonly_fields(request, obj)
        return own if request.user.is_superuser else [*own, *PRIVILEGES]

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and (
            obj is None or may_touch(request.user, obj)
        )

    def has_delete_permission(self, request, obj=None):
        return super().has_delete_permission(request, obj) and (
            obj is None or may_touch(request.user, obj)
        )

    def save_model(self, request, person, form, change):
        super().save_model(request, person, form, change)
        email = form.cleaned_data["email"]
        if email != form.initial.get("email", "").lower():
            addresses.give(person, email, request)

    @admin.display(description=_("address confirmed"), boolean=True)
    def is_confirmed(self, person):
        own = EmailAddress.objects.filter(user=person, email__iexact=person.email)
        return own.filter(verified=True).exists()

    def get_search_results(self, request, queryset, search_term):
        return super().get_search_results(request, queryset, fold(search_term))

    def changeform_view(self, request, *args, **kwargs):
        try:
            return super().changeform_view(request, *args, **kwargs)
        except IntegrityError:
            self.message_user(request, NAME_TAKEN, messages.ERROR)
            return redirect(request.get_full_path())

    @admin.action(
        description=_("Deactivate and sign out everywhere"), permissions=["change"]
    )
    def deactivate(self, request, queryset):
        people = queryset.filter(is_active=True).exclude(pk=request.user.pk)
        count = 0
        for person in self._touchable(request, people):
            person.is_active = False
            person.save(update_fields=["is_active"])
            self.log_change(request, person, "deactivated")
            count += 1
        told = ngettext(
            "%(count)s account was deactivated.",
            "%(count)s accounts were deactivated.",
            count,
        )
        self.message_user(request, told % {"count": count})

    @admin.action(description=_("Confirm e-mail address"), permissions=["change"])
    def confirm_address(self, request, queryset):
        """For a chat without a mail server, or a letter that does not arrive."""
        own = EmailAddress.objects.filter(primary=True, verified=False)
        people = self._touchable(request, queryset)
        for address in own.filter(user__in=people):
            if address.set_verified():
                self.log_change(request, address.user, f"confirmed {address}")
                told, level = _("The address %(email)s is confirmed."), messages.SUCCESS
            else:
                told = _("The address %(email)s belongs to another account.")
                level = messages.ERROR
            self.message_user(request, told % {"email": address.email}, level)

    def _touchable(self, request, people):
        """Those that the user may touch; of the others they are told."""
        may = [person for person in people if may_touch(request.user, person)]
        if len(may) < len(people):
            told = _("Only superusers change accounts with staff rights.")
            self.message_user(request, told, messages.ERROR)
        return may


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
    search_help_text = _("The beginning of a name.")
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
