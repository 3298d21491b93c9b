"""The second factor: allauth's own parts, with our words, and its secrets encrypted."""

import logging
import re
import secrets
from base64 import b32encode, urlsafe_b64encode

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa import signals
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import transaction
from django.dispatch import receiver
from django.utils.crypto import salted_hmac
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.adapter import NOT_RIGHT

logger = logging.getLogger(__name__)

# Recovery codes stand in for one of these, and are worth nothing alone.
KINDS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]


class Adapter(DefaultMFAAdapter):
    """Where allauth's ways are not ours."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": NOT_RIGHT,
        "cannot_generate_recovery_codes": _("Set up a second factor first."),
    }

    def encrypt(self, text):
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text):
        """The text; one that fits no code where SECRET_KEY is another than it was."""
        try:
            return _cipher().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            logger.error(
                "A second factor cannot be read: put the former SECRET_KEY into"
                " SECRET_KEY_FALLBACKS, or run manage.py remove_second_factor."
            )
            return b32encode(secrets.token_bytes(20)).decode()

    def build_totp_svg(self, url):
        """The QR code as an element: our policy takes no picture out of an address."""
        svg = super().build_totp_svg(url)
        return mark_safe(re.sub(r"<\?xml.*?\?>\s*", "", svg))  # noqa: S308

    def _get_user_identifier(self, user):
        return user.username

    def generate_authenticator_name(self, user, type):
        count = Authenticator.objects.filter(user=user.pk, type=type).count()
        return gettext("Passkey %(number)s") % {"number": count + 1}


def _cipher():
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_derived(key)) for key in keys])


def _derived(key):
    mac = salted_hmac("accounts.second_factor", "", secret=key, algorithm="sha256")
    return urlsafe_b64encode(mac.digest())


@transaction.atomic
def remove_all(person):
    """For somebody who has lost theirs. Whoever may have found it is signed out."""
    for authenticator in person.authenticator_set.all():
        authenticator.delete()
        signals.authenticator_removed.send(
            sender=Authenticator, request=None, user=person, authenticator=authenticator
        )
    person.sessions.all().delete()


@receiver(signals.authenticator_added)
def _count_as_shown(request, user, authenticator, **_signal):
    """Whoever has just set a factor up has just shown that they have it."""
    if request and authenticator.type in KINDS:
        shown = {"id": authenticator.pk, "type": authenticator.type}
        record_authentication(request, user, "mfa", reauthenticated=True, **shown)
