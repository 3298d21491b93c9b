import time
import unicodedata

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction
from hypothesis import assume, given
from hypothesis import strategies as st

from accounts.models import User
from accounts.names import MAX_LENGTH, fold, normalize, validate_name

any_text = st.text(max_size=40)
letters = st.characters(categories=["L", "Mn", "Mc", "Nd"], include_characters="_-")
name_like = st.text(letters, min_size=1, max_size=MAX_LENGTH)


def is_name(text):
    try:
        validate_name(text)
    except ValidationError:
        return False
    return True


@given(any_text | name_like)
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)


@given(any_text | name_like)
def test_a_name_folds_as_its_other_cases_and_compositions_do(text):
    twins = [normalize(text), text.casefold()]
    twins += [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKD")]
    assert {fold(twin) for twin in twins} == {fold(text)}


@given(name_like)
def test_what_is_stored_starts_with_a_letter_and_has_no_other_signs(text):
    name = normalize(text)
    assume(is_name(name))
    assert name[0].isalpha()
    assert name.isprintable()
    assert name.replace("-", "_").isidentifier()
    assert is_name(fold(name))
    assert len(fold(name)) <= User._meta.get_field("slug").max_length


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "Юлия",
        "हिन्दी",
        "สวัสดี",
        "བསྒྲུབས",
        "名前",
        "Zoë",
        "jean-luc_2",
        "שָׁלוֹם",
        "가나다",
    ],
)
def test_any_script_can_be_a_name(name):
    assert is_name(normalize(name))


@pytest.mark.parametrize(
    "name",
    {
        "digit first": "1ann",
        "mark first": "\u0301ann",
        "underscore first": "_ann",
        "hyphen first": "-ann",
        "nothing": "",
        "space": "an n",
        "line break at the end": "ann\n",
        "NUL": "an\0n",
        "dot": "a.n",
        "at": "ann@example.org",
        "markup": "<b>ann</b>",
        "right to left override": "ann\u202egpj",
        "zero width space": "an\u200bn",
        "zero width joiner": "an\u200dn",
        "soft hyphen": "an\u00adn",
        "filler that shows nothing": "ann\u3164",
        "joiner that shows nothing": "an\u034fn",
        "variation selector": "ann\ufe0f",
        "emoji": "ann😀",
        "tower of marks": "a" + "\u0323" * 9,
        "number that is no digit": "\U00010107ann",
        "escape sequence": "ann\x1b[31m",
        "too long": "a" * 33,
        "far too long": "a" * 1_000_000,
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.django_db
def test_what_is_no_name_cannot_be_stored(name):
    with pytest.raises(ValidationError), transaction.atomic():
        User(username=name[1]).save()
    assert not User.objects.exists()


def test_a_tower_of_marks_takes_no_time(client, db):
    """Unicode's normal forms take quadratic time for it: here, half a minute."""
    User.objects.create_superuser("root")  # or nobody could sign up yet
    tower = "a" + "\u0301\u0323" * 100_000
    data = {"username": tower, "password1": "x", "password2": "x"}
    began = time.monotonic()
    assert client.post("/accounts/signup/", data).status_code == 200
    assert client.post("/accounts/login/", {"login": tower, "password": "x"})
    assert User.objects.filter(slug=fold(tower)).first() is None
    assert time.monotonic() - began < 2


def test_a_bad_name_is_not_stored_past_save_either(ann):
    with pytest.raises(ValidationError):
        User.objects.filter(pk=ann.pk).update(username="1")
    with pytest.raises(ValidationError):
        User.objects.bulk_create([User(username="no name")])


def test_a_renamed_person_is_found_by_the_new_name_only(ann):
    ann.username = "Ben"
    ann.save(update_fields=["username"])
    assert User.objects.get_by_natural_key("BEN") == ann
    assert not User.objects.filter(slug="ann").exists()


def test_createsuperuser_refuses_bad_and_taken_names_in_a_sentence(ann, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse battery")
    for name in ("ANN", "1ann"):
        with pytest.raises(CommandError):
            call_command(
                "createsuperuser", interactive=False, username=name, email="x@y.org"
            )
    assert User.objects.count() == 1
