from allauth.account import forms as allauth_forms
from allauth.account.fields import EmailField
from allauth.account.utils import setup_user_email
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp import forms as totp_forms
from django import forms
from django.conf import settings
from django.contrib.auth.forms import BaseUserCreationForm, UserChangeForm
from django.core.validators import MaxLengthValidator
from django.db import IntegrityError, transaction
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from accounts import addresses
from accounts.models import NAME_TAKEN, User
from accounts.names import MAX_LENGTH, NameFormField, fold
from accounts.security_record import Kind, SecurityRecord

PASSWORD_HELP = _("At least 8 characters, not only digits, and not easy to guess.")


ASK = _("This chat doesn’t send e-mail. Ask an administrator for a sign-in link.")
ASK_FOR_ADDRESS = _("This chat doesn’t send e-mail, so addresses can’t be confirmed.")


class TakesName:
    """Saves; if somebody took the name a moment ago, says so at it and returns None."""

    def save(self, commit=True):
        try:
            with transaction.atomic():
                return super().save(commit)
        except IntegrityError:
            self.add_error("username", NAME_TAKEN)
            return None


class NameForm(TakesName, forms.ModelForm):
    class Meta:
        model = User
        fields = ["username"]


class PersonForm(TakesName, BaseUserCreationForm):
    """`form.is_valid() and form.save()` is a new person, or `errors` says why not."""

    class Meta:
        model = User
        fields = ["username", "email"]
        field_classes = {"username": NameFormField}
        labels = {"email": _("E-mail address (optional)")}
        help_texts = {"email": _("Without it you can’t reset a forgotten password.")}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs["autocomplete"] = "username"
        self.fields["email"].widget.attrs["autocomplete"] = "email"
        self.fields["password1"].help_text = PASSWORD_HELP
        self.fields["password2"].label = _("Repeat the password")
        self.fields["password2"].help_text = ""
        if not settings.SENDS_LETTERS and "email" in self.fields:
            self.fields["email"].help_text = ""

    def validate_password_for_user(self, user, password_field_name="password1"):  # noqa: S107
        """At the first of the two fields, where one looks for what is wrong with it."""
        super().validate_password_for_user(user, password_field_name)


class ChecksAddress:
    """The admin may know that an address is taken; at sign-up nobody is told."""

    def clean_email(self):
        email = self.cleaned_data["email"].lower()
        if email and addresses.is_taken(email, self.instance):
            raise forms.ValidationError(_("This address belongs to another account."))
        return email


class NewPersonForm(ChecksAddress, PersonForm):
    pass


class EditPersonForm(ChecksAddress, UserChangeForm):
    pass


class SignUpForm(PersonForm):
    by_passkey = False  # which allauth's page asks

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not settings.SENDS_LETTERS:
            del self.fields["email"]  # it would be good for nothing

    def try_save(self, request):
        """The person and None, or None and the page to show, as allauth wants it."""
        person = self.save()
        if person is None:
            return None, render(request, "account/signup.html", {"form": self})
        setup_user_email(request, person, [])
        return person, None


class OurWords:
    """allauth's forms, labelled as ours; no placeholder repeats a label."""

    labels = {
        "oldpassword": _("Current password"),
        "password": _("Password"),
        "password1": _("New password"),
        "password2": _("Repeat the new password"),
        "email": _("E-mail address"),
        "login": _("Name or e-mail address"),
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = self.labels[name]
            field.widget.attrs.pop("placeholder", None)
            if name == "password1":
                field.help_text = PASSWORD_HELP


class NeedsLetters:
    """A form that is of no use where no letters are sent, and then says whom to ask."""

    without_letters = ASK

    @property
    def refusal(self):
        """Why nobody can use it here; "" if they can."""
        return "" if settings.SENDS_LETTERS else self.without_letters

    def clean(self):
        if self.refusal:
            raise forms.ValidationError(self.refusal)
        return super().clean()


class SignInForm(OurWords, allauth_forms.LoginForm):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        login = forms.CharField(
            label=self.labels["login"],
            max_length=254,
            widget=forms.TextInput(
                attrs={
                    "autocomplete": "username",
                    "autocapitalize": "none",
                    "autofocus": True,
                }
            ),
        )
        self.fields["login"] = login
        self.fields["password"].help_text = ""  # the page has the link

    def clean_login(self):
        """Folded, so that a name spelt in another way is not another to guess at."""
        login = super().clean_login()
        return login.lower() if "@" in login else fold(login)

    def user_credentials(self):
        return {
            "username": self.cleaned_data["login"],
            "password": self.cleaned_data["password"],
        }


class ChangePasswordForm(OurWords, allauth_forms.ChangePasswordForm):
    pass


class SetPasswordForm(OurWords, allauth_forms.SetPasswordForm):
    pass


class ResetPasswordForm(NeedsLetters, OurWords, allauth_forms.ResetPasswordForm):
    """One query and one letter, whether somebody has the address or not."""

    def clean_email(self):
        # The letter goes to the address that was looked up: in another spelling (a
        # Kelvin sign for a K) it may be another's.
        address = self.cleaned_data["email"].lower()
        self.person = User.objects.reachable_at(address)
        self.users = [self.person] if self.person else []
        return address

    def save(self, request, **kwargs):
        SecurityRecord.objects.note(Kind.RESET_ASKED, self.person)
        return super().save(request, **kwargs)


class ResetPasswordKeyForm(OurWords, allauth_forms.ResetPasswordKeyForm):
    pass


class ReauthenticateForm(OurWords, allauth_forms.ReauthenticateForm):
    pass


class AddEmailForm(NeedsLetters, OurWords, allauth_forms.AddEmailForm):
    labels = {"email": _("New e-mail address")}
    without_letters = ASK_FOR_ADDRESS

    email = EmailField(max_length=254)  # allauth's takes more than its column


# The second factor -----------------------------------------------------------------


class CodeForm(OurWords):
    """Six digits of an app, or a recovery code."""

    labels = {"code": _("Code")}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["code"].validators.append(MaxLengthValidator(MAX_LENGTH))
        self.fields["code"].widget.attrs |= {"autofocus": True, "spellcheck": "false"}


class AuthenticateForm(CodeForm, mfa_forms.AuthenticateForm):
    pass


class ReauthenticateByCodeForm(CodeForm, mfa_forms.ReauthenticateForm):
    pass


class ActivateAppForm(CodeForm, totp_forms.ActivateTOTPForm):
    labels = {"code": _("Code from the app")}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs["inputmode"] = "numeric"
