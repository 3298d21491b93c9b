import logging
from hashlib import sha256

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.core.ratelimit import respond_429
from django.conf import settings
from django.core.cache import cache
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from accounts import known_browsers
from accounts.models import User
from accounts.names import fold
from accounts.security_record import Kind, SecurityRecord

logger = logging.getLogger(__name__)

LOCKED_FOR = 5 * 60  # seconds, as ACCOUNT_RATE_LIMITS says
WRONG = _("The name or the password is incorrect.")
NOT_RIGHT = _("This code is incorrect or was already used.")
BY_FACTOR = {
    "mfa_reauthenticate": _("Use a code"),
    "mfa_reauthenticate:webauthn": _("Use a passkey"),
}


class AccountAdapter(DefaultAccountAdapter):
    """Where allauth's ways are not ours."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": WRONG,
        "username_password_mismatch": WRONG,
        "enter_current_password": _("The password is incorrect."),
        "incorrect_password": _("The password is incorrect."),
        "duplicate_email": _("This is already your address."),
    }

    def is_open_for_signup(self, request):
        """Not before there is an admin: the first person is made at /welcome/."""
        return User.objects.exists()

    def is_safe_url(self, url):
        """After signing in one goes to a page of ours, named by its path alone."""
        return url_has_allowed_host_and_scheme(url, allowed_hosts=None)

    def get_password_change_redirect_url(self, request):
        return reverse("accounts:profile")

    def get_reauthentication_methods(self, user):
        """By the second factor if there is one: the password is the first, and whoever
        found the session open may know it. Codes come first only from an app."""
        methods = super().get_reauthentication_methods(user)
        by_factor = [each for each in methods if each["id"] in BY_FACTOR]
        for method in by_factor:
            method["description"] = BY_FACTOR[method["id"]]
        if len(by_factor) > 1 and not user.authenticator_set.filter(type="totp"):
            by_factor.reverse()
        return by_factor or methods

    def pre_authenticate(self, request, **credentials):
        """Limits on failed attempts. What is locked is a name for one network, so that
        a stranger elsewhere keeps nobody out; and a browser in which that person has
        signed in before counts by itself, so that no neighbour does either."""
        login = fold(credentials.get("username") or credentials.get("email", ""))
        if browser := known_browsers.known(request, login):
            limits = [("known_browser", f"{login} {browser}")]
        else:
            limits = [
                ("sign_in", None),
                ("login_failed", f"{login} {network(request)}"),
            ]
        for action, key in limits:
            usage = ratelimit.consume(
                request, app="allauth.account", action=action, key=key
            )
            if not usage:
                note_lock_out(login, key or network(request))
                raise ImmediateHttpResponse(respond_429(request))
        self._login_failed_rl_usage = usage  # given back by allauth after a success

    def send_mail(self, template_prefix, email, context):
        """Send, with links to the site's own address, whatever `Host` was asked.

        A mail server that does not answer fails no page: the person can ask again.
        Without one nothing is sent: a letter in the journal is a link in the journal.
        """
        if not settings.SENDS_LETTERS:
            return
        site = settings.PUBLIC_URL or self.request.build_absolute_uri("/").rstrip("/")
        try:
            super().send_mail(template_prefix, email, {**context, "site": site})
        except OSError as error:
            logger.error("The mail %s was not sent: %r", template_prefix, error)


def network(request):
    """Where a request comes from: the address, of IPv6 its /64, which one home has."""
    return ratelimit.get_ip(request)


def note_lock_out(login, key):
    """Once for each time that something is locked, however often it is tried."""
    name = sha256(f"{login} {key}".encode()).hexdigest()
    if cache.add(f"locked:{name}", True, LOCKED_FOR):
        SecurityRecord.objects.note(Kind.LOCK_OUT, User.objects.called(login))
