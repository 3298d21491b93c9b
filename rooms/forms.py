from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts.forms import PersonForm
from accounts.models import User
from accounts.names import NameField, fold, skeleton, validate_chosen_name
from rooms.models import Installation, Room
from rooms.moderation import MAX_TOPIC, find_person, one_line
from rooms.numbers import read_number
from rooms.rights import Refused
from rooms.setup_code import is_needed, is_setup_code

RESERVED = {"new"}  # /rooms/new/ is the form that makes one


class RoomNameField(forms.CharField):
    """The name of a room that does not exist yet."""

    def clean(self, value):
        name = NameField().clean(super().clean(value), None)
        if fold(name) in RESERVED or Room.everything.named(name).exists():
            raise ValidationError(
                _("There’s already a room with this name."), code="taken"
            )
        validate_chosen_name(name)
        if Room.everything.filter(skeleton=skeleton(name)).exists():
            raise ValidationError(
                _("There’s already a room with a name that looks the same."),
                code="taken",
            )
        return name


class TopicField(forms.CharField):
    """One line, or nothing."""

    def __init__(self, **kwargs) -> None:
        super().__init__(required=False, max_length=MAX_TOPIC, **kwargs)

    def clean(self, value):
        try:
            return one_line(super().clean(value), MAX_TOPIC)
        except Refused as refused:
            raise ValidationError(refused.detail, code=refused.code) from None


class RoomForm(forms.Form):
    """A new room."""

    name = RoomNameField(label=_("Name"))
    topic = TopicField(label=_("Topic"))


# Acts ---------------------------------------------------------------------------------
# What is missing is empty, and for the verb to judge: it is the same for a command.


class PersonNameField(forms.CharField):
    """The name of a person there is; Refused otherwise."""

    def clean(self, value):
        return find_person(super().clean(value))


class SeqField(forms.CharField):
    """The number of an event; Refused otherwise."""

    def clean(self, value):
        seq = read_number(super().clean(value))
        if seq is None:
            raise Refused("bad_field", _("“seq” is not a number."))
        return seq


class TextField(forms.CharField):
    """Any text."""

    def __init__(self) -> None:
        super().__init__(required=False, strip=False)


class ActForm(forms.Form):
    """What an act takes besides its room; the fields are arguments of its view."""

    def read(self):
        """{name: value}; raises Refused."""
        if not self.is_valid():
            raise Refused("bad_field", next(iter(self.errors.values()))[0])
        return self.cleaned_data


class KickForm(ActForm):
    user = PersonNameField(required=False, strip=False)
    reason = TextField()


class RoleForm(ActForm):
    user = PersonNameField(required=False, strip=False)
    role = TextField()


class TopicForm(ActForm):
    topic = TextField()


class ClearForm(ActForm):
    reason = TextField()


class RestoreForm(ActForm):
    seq = SeqField(required=False, strip=False)


# A new installation -------------------------------------------------------------------


class WelcomeForm(PersonForm):
    """The first person of an installation, who is its admin, and the first room."""

    code = forms.CharField(
        label=_("Set-up code"),
        max_length=100,
        help_text=_(
            "It was printed where Rollcall was started. "
            "“manage.py setup_code” prints it again."
        ),
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "characters",
                "autofocus": True,
                "spellcheck": "false",
            }
        ),
    )
    room = RoomNameField(label=_("First room"), initial=_("lobby"))
    field_order = ["code"]

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.instance.is_staff = self.instance.is_superuser = True
        if is_needed():
            del self.fields["username"].widget.attrs["autofocus"]
        else:
            del self.fields["code"]

    def clean_code(self):
        if not is_setup_code(self.cleaned_data["code"]):
            raise ValidationError(_("The set-up code is incorrect."))

    @transaction.atomic
    def save(self, commit=True):
        """Make both. The admin, or None where somebody was quicker: see the errors."""
        Installation.lock()
        if not is_new():
            self.add_error(None, _("This chat is already set up."))
            return None
        admin = super().save(commit)
        if admin is None:
            return None
        self.made = Room.objects.create_with_owner(self.cleaned_data["room"], admin)
        return admin


def is_new() -> bool:
    """Whether nobody has an account here yet."""
    return not User.objects.exists()
