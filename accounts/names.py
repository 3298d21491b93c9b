"""Names of people and rooms: what they may look like, and when two are the same."""

import re
import unicodedata

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts import look_alikes

MAX_LENGTH = 32

# Letters and marks that show nothing: with one of them, "alice" could be told from
# "alice" by no eye. (Unicode's Default_Ignorable_Code_Point, as far as it has any.)
UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Thai, Hindi and others are written with marks upon letters. Nobody needs five on one.
SHAPE = re.compile(r"LM{0,4}(?:LM{0,4}|[D_-])*")
WORDS_END = re.compile("[_-]+")
# Names that an e-mail, a page or a command gives to all, or to nobody in particular.
CALLS = """
here room all everyone everybody channel online nobody anonymous deleted
здесь тут комната все всем каждый канал никто аноним удалён
"""
# Names that speak for those who run the chat: for staff only.
OFFICES = """
admin admins administrator administration moderator moderators mod owner root superuser
system support security staff team help helpdesk service official rollcall bot
webmaster postmaster hostmaster
админ админы администратор администраторы администрация модератор модераторы владелец
система поддержка техподдержка безопасность служба команда помощь бот сервис
"""
MIXED = _("Use only one alphabet in each word of the name.")
RESERVED = _("This name is reserved.")
KINDS = {"Mn": "M", "Mc": "M", "Nd": "D"}


def normalize(name):
    """The form in which a name is kept and shown: NFKC, which joins look-alike forms.

    What is far too long stays as it is: a heap of marks takes quadratic time.
    """
    if len(name) > 10 * MAX_LENGTH:
        return name
    return unicodedata.normalize("NFKC", name)


def fold(name):
    """The form in which names are compared; two names that fold alike are one.

    Folding case can undo NFKC and NFKC can bring upper case back, hence both twice, as
    in Unicode's definition of a compatibility caseless match (D146). A NUL, over which
    PostgreSQL stumbles, becomes a character that no name has either.
    """
    name = name.replace("\x00", "\ufffd")
    for _round in range(2):
        name = normalize(name).casefold()
    return normalize(name)


def validate_name(name):
    if UNSEEN.search(name) or not SHAPE.fullmatch("".join(map(_kind, name))):
        raise ValidationError(
            _("Start with a letter, then use letters, digits, “_” and “-”.")
        )


def validate_chosen_name(name):
    """Of a name that somebody takes now; those of before these rules stay good.

    A word is of one script, but “IT-отдел” may be two words.
    """
    if any(look_alikes.is_mixed(word) for word in WORDS_END.split(name)):
        raise ValidationError(MIXED, code="mixed")


def validate_persons_name(name, is_staff):
    """Also that it claims no more than its bearer is. (`@here` calls everybody.)"""
    validate_chosen_name(name)
    reserved = CALLS if is_staff else CALLS + OFFICES
    bare = WORDS_END.sub("", name)
    if {skeleton(bare), skeleton(fold(bare))} & {*map(skeleton, reserved.split())}:
        raise ValidationError(RESERVED, code="reserved")


def skeleton(name):
    """The form that a name has in common with all that look like it."""
    if len(name) > 10 * MAX_LENGTH:  # as in `normalize`
        return name
    return look_alikes.skeleton(normalize(name))


def _kind(character):
    """L for a letter, M for a mark upon one, D for a digit; “_” and “-” as they are."""
    if character in "_-":
        return character
    category = unicodedata.category(character)
    return "L" if category[0] == "L" else KINDS.get(category, "?")


class NameFormField(forms.CharField):
    """Counts the letters of a name after they are composed, as they will be stored."""

    def to_python(self, value):
        return normalize(super().to_python(value))

    def widget_attrs(self, widget):
        # The browser counts in another unit, so it is not asked to count.
        attrs = {**super().widget_attrs(widget), "autocapitalize": "none"}
        attrs.pop("maxlength", None)
        return attrs


class NameField(models.CharField):
    """A name as its owner writes it, kept in NFKC."""

    default_validators = [validate_name]

    def __init__(self, *args, max_length=MAX_LENGTH, **kwargs):
        super().__init__(*args, max_length=max_length, **kwargs)

    def to_python(self, value):
        value = super().to_python(value)
        return normalize(value) if isinstance(value, str) else value

    def pre_save(self, instance, add):
        value = self.to_python(getattr(instance, self.attname))
        setattr(instance, self.attname, value)
        return value

    def get_db_prep_save(self, value, connection):
        """The last gate: what is no name is not stored, whoever saves it."""
        if isinstance(value, str):
            value = self.clean(value, None)
        return super().get_db_prep_save(value, connection)

    def formfield(self, **kwargs):
        return super().formfield(**{"form_class": NameFormField} | kwargs)


class FoldedNameField(models.CharField):
    """The folded twin of the field `of`; it carries the unique index.

    It is filled whenever a row is saved, so that no code can forget it.
    """

    def __init__(self, *args, of="name", **kwargs):
        self.of = of
        # A letter can fold to two; there is room for what Unicode may yet bring.
        kwargs = {"max_length": 255, "editable": False, "unique": True} | kwargs
        super().__init__(*args, **kwargs)

    def deconstruct(self):
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, kwargs | {"of": self.of}

    def pre_save(self, instance, add):
        value = fold(getattr(instance, self.of))
        setattr(instance, self.attname, value)
        return value


class SkeletonField(FoldedNameField):
    """The skeleton of the field `of`. Not unique: names from before look-alikes were
    refused stay good. So two who take such names in one moment may both get them."""

    def __init__(self, *args, **kwargs):
        kwargs = {"unique": False, "db_index": True, "db_default": ""} | kwargs
        super().__init__(*args, **kwargs)

    def pre_save(self, instance, add):
        value = skeleton(getattr(instance, self.of))[: self.max_length]
        setattr(instance, self.attname, value)
        return value
