import time
import unicodedata

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from hypothesis import assume, given
from hypothesis import strategies as st

from accounts import look_alikes
from accounts.forms import NameForm
from accounts.models import User
from accounts.names import MAX_LENGTH, fold, normalize, skeleton, validate_name

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
    began = time.process_time()
    assert client.post("/accounts/signup/", data).status_code == 200
    assert client.post("/accounts/login/", {"login": tower, "password": "x"})
    assert User.objects.filter(slug=fold(tower)).first() is None
    assert time.process_time() - began < 2


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


# Names that look the same -------------------------------------------------------------


def chosen(name, **fields):
    """What the form says of a name; [] if it takes it."""
    form = NameForm({"username": name}, instance=User(**fields))
    return form.errors.get("username", [])


LOOK_ALIKES = {
    "all of another script": ("ape", "аре"),  # the second is Cyrillic
    "Greek": ("ovo", "ονο"),
    "a digit for a letter": ("Bob", "B0b"),
    "a capital I for an l": ("Ivan", "lvan"),
    "two letters for one": ("amy", "arny"),
    "a dotless i": ("mike", "mıke"),
    "in another case": ("APE", "аре"),
}


@pytest.mark.parametrize(("name", "twin"), LOOK_ALIKES.values(), ids=LOOK_ALIKES)
@pytest.mark.django_db
def test_a_name_that_looks_like_anothers_is_taken(name, twin):
    assert fold(name) != fold(twin)
    assert chosen(twin) == [] or twin == "mıke"
    User.objects.create_user(name)
    assert chosen(twin) == ["A name that looks the same is already taken."]


@pytest.mark.parametrize(
    ("one", "other"), [("Zoe", "Zoë"), ("Юлия", "Юлии"), ("Ann", "Anm"), ("n1", "n2")]
)
@pytest.mark.django_db
def test_names_that_look_different_are_two(one, other):
    User.objects.create_user(one)
    assert chosen(other) == []


@pytest.mark.parametrize("name", ["аnn", "Ивaн", "pаypаl", "Αnn", "ann_Ивaн"])
@pytest.mark.django_db
def test_a_word_of_mixed_scripts_is_no_name_to_choose(name):
    assert chosen(name) == ["Use only one alphabet in each word of the name."]


@pytest.mark.parametrize(
    "name", ["IT-отдел", "Юлия_Smith", "東京タワー", "Xさん", "김X", "हिन्दी2", "שָׁלוֹם"]
)
@pytest.mark.django_db
def test_words_of_different_scripts_and_what_is_written_together_are(name):
    assert chosen(name) == []


@pytest.mark.parametrize(
    "name", ["admin", "Moderator", "SUPPORT", "админ", "Поддержка", "ad_min-", "аdmin-"]
)
@pytest.mark.django_db
def test_names_of_those_who_run_the_chat_are_reserved(name):
    told = chosen(name)
    assert told in (
        ["This name is reserved."],
        ["Use only one alphabet in each word of the name."],
    )
    if name.isascii():
        assert chosen(name, is_staff=True) == []


@pytest.mark.parametrize("name", ["here", "All", "everyone", "Все", "здесь"])
@pytest.mark.django_db
def test_names_that_call_everybody_are_nobodys(name):
    assert chosen(name) == chosen(name, is_staff=True) == ["This name is reserved."]


@pytest.mark.django_db
def test_a_name_from_before_these_rules_stays_good(browse):
    for old in ("admin", "Ивaн", "Bob", "B0b"):
        person = User.objects.create_user(old)
        form = NameForm({"username": old}, instance=person)
        assert form.is_valid() and form.save()
        person.save()
    # It can be spelt anew, too.
    bob = User.objects.get(slug="bob")
    form = NameForm({"username": "Bobby"}, instance=bob)
    assert form.is_valid() and form.save()
    assert not User.objects.filter(skeleton=skeleton("Bob"), slug="bob").exists()


def test_one_can_respell_ones_own_name(ann):
    form = NameForm({"username": "Аnn".replace("А", "A")}, instance=ann)
    assert form.is_valid()
    form = NameForm({"username": "ANN"}, instance=ann)
    assert form.is_valid()


@given(any_text | name_like)
def test_any_text_has_a_skeleton_and_its_composition_has_the_same(text):
    assert skeleton(unicodedata.normalize("NFD", text)) == skeleton(text)


def test_a_skeleton_fits_its_column():
    longest = max(look_alikes._prototypes().values(), key=len)
    column = User._meta.get_field("skeleton")
    assert MAX_LENGTH * len(longest) <= column.max_length


@pytest.mark.django_db(transaction=True)
def test_old_names_get_their_skeletons_and_twins_stay(db):
    migrate([("accounts", "0003_hashed_session_keys")])
    with connection.cursor() as cursor:
        for name in ("Bob", "B0b"):
            cursor.execute(
                "INSERT INTO accounts_user (password, is_superuser, is_staff,"
                " is_active, date_joined, username, slug, email)"
                " VALUES ('', false, false, true, now(), %s, lower(%s), '')",
                [name, name],
            )
    migrate(MigrationLoader(None).graph.leaf_nodes())
    people = User.objects.filter(skeleton=skeleton("Bob"))
    assert {person.username for person in people} == {"Bob", "B0b"}


def migrate(targets):
    MigrationExecutor(connection).migrate(targets)
