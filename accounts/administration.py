"""The admin's site: who has shown lately, and by two factors, that it is they."""

from functools import wraps

from allauth.account.decorators import secure_admin_login
from csp.decorators import csp_replace
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _

from accounts.reauthentication import ask_again, has_signed_in_within

# The admin's own scripts write HTML as text; so it has to do without trusted types.
for_its_scripts = csp_replace(
    {"require-trusted-types-for": None, "trusted-types": None}
)


# The admin has no sign-in of its own: it would have no limit on attempts.
@method_decorator(secure_admin_login, "login")
class Administration(AdminSite):
    def admin_view(self, view, cacheable=False):
        """As Django's, behind the second factor and a fresh sign-in.

        What is cacheable is the catalogue of words; to sign out one needs neither.
        """
        inner = for_its_scripts(super().admin_view(view, cacheable))
        if cacheable or view == self.logout:
            return inner

        @wraps(inner)
        def guarded(request, *args, **kwargs):
            first = self.has_permission(request) and asked_first(request)
            return first or inner(request, *args, **kwargs)

        return guarded


def asked_first(request):
    """The page to which a person with staff rights has to go first, or None."""
    if settings.ADMIN_SECOND_FACTOR and not request.user.has_second_factor:
        return to_set_up_second_factor(request)
    if not has_signed_in_within(request, settings.ADMIN_SIGN_IN_WITHIN):
        return ask_again(request)
    request.session.pop("second_factor_for", None)


def to_set_up_second_factor(request):
    if request.method == "GET":
        request.session["second_factor_for"] = request.get_full_path()
    told = _("Administration requires a second factor. Set one up first.")
    messages.warning(request, told)
    return redirect("mfa_index")
