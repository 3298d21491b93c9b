import logging

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.ratelimit import respond_429
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

logger = logging.getLogger(__name__)

WRONG = _("Name and password do not match.")


class AccountAdapter(DefaultAccountAdapter):
    """Where allauth's ways are not ours."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": WRONG,
        "username_password_mismatch": WRONG,
        "enter_current_password": _("This is not your password."),
        "incorrect_password": _("This is not your password."),
        "duplicate_email": _("This is your address already."),
    }

    def is_open_for_signup(self, request):
        """Not before there is an admin: the first person is made at /welcome/."""
        return get_user_model().objects.exists()

    def is_safe_url(self, url):
        """After signing in one goes to a page of ours, named by its path alone."""
        return url_has_allowed_host_and_scheme(url, allowed_hosts=None)

    def get_password_change_redirect_url(self, request):
        return reverse("accounts:profile")

    def pre_authenticate(self, request, **credentials):
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            raise ImmediateHttpResponse(respond_429(request)) from None

    def _get_login_attempts_cache_key(self, request, **credentials):
        # Not by host, as in allauth: who guesses could try each port as another one.
        return credentials.get("username") or credentials.get("email", "")

    def send_mail(self, template_prefix, email, context):
        """Send, with links to the site's own address, whatever `Host` was asked.

        A mail server that does not answer fails no page: the person can ask again.
        """
        site = settings.PUBLIC_URL or self.request.build_absolute_uri("/").rstrip("/")
        try:
            super().send_mail(template_prefix, email, {**context, "site": site})
        except OSError as error:
            logger.error("The mail %s was not sent: %r", template_prefix, error)
