"""Forms of passkeys, apart from the others: fido2 takes a tenth of a second to load.

Only pages wait for it, and no start of a server or of a command."""

import struct

from allauth.mfa.webauthn import forms as webauthn
from django import forms
from django.core.validators import MaxLengthValidator
from django.utils.translation import gettext_lazy as _

from accounts.adapter import NOT_RIGHT
from accounts.forms import OurWords
from accounts.names import MAX_LENGTH

TRIPS = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError),
    *(ValueError, struct.error),
)


class NamesPasskey(OurWords):
    labels = {"name": _("Passkey name"), "credential": ""}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["name"].validators.append(MaxLengthValidator(MAX_LENGTH))
        self.fields["name"].widget.attrs["maxlength"] = MAX_LENGTH


class CredentialField(forms.JSONField):
    widget = forms.HiddenInput

    def bound_data(self, data, initial):
        """What was refused does not come back into the page."""
        return initial


class TakesCredential:
    """Takes what an authenticator answered, or anything else. The library checks what
    is well formed, and trips over the rest."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["credential"] = CredentialField(label="")

    def full_clean(self):
        try:
            super().full_clean()
        except TRIPS:
            self.add_error("credential", NOT_RIGHT)


class AddPasskeyForm(TakesCredential, NamesPasskey, webauthn.AddWebAuthnForm):
    pass


class AuthenticateByPasskeyForm(TakesCredential, webauthn.AuthenticateWebAuthnForm):
    pass


class ReauthenticateByPasskeyForm(TakesCredential, webauthn.ReauthenticateWebAuthnForm):
    pass


class RenamePasskeyForm(NamesPasskey, webauthn.EditWebAuthnForm):
    pass
