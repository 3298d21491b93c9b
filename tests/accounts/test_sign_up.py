import threading

import pytest
from django.contrib.auth.hashers import identify_hasher
from django.db import connection
from django.test import Client

from accounts.forms import PersonForm
from accounts.models import NAME_TAKEN, User

URL = "/accounts/signup/"


@pytest.fixture(autouse=True)
def admin(request):
    """Before there is an admin nobody can sign up; they are none of these people."""
    if "django_db" in request.keywords:
        request.getfixturevalue(
            "transactional_db"
            if request.node.get_closest_marker("django_db").kwargs.get("transaction")
            else "db"
        )
        return User.objects.create_superuser("root")


@pytest.fixture
def sign_up(client, password):
    """sign_up(name, …): the answer to the sign-up form."""

    def sign_up(name, email="", password=password, again=None, client=client, url=URL):
        again = password if again is None else again
        data = {"username": name, "email": email}
        return client.post(url, data | {"password1": password, "password2": again})

    return sign_up


def errors_of(response):
    assert response.status_code == 200, response.status_code
    return response.context["form"].errors


@pytest.mark.django_db
def test_nobody_signs_up_before_there_is_an_admin(client, sign_up, admin):
    """Or a stranger would close the first-run page to who set the chat up."""
    admin.delete()
    for response in (client.get(URL), sign_up("Ann")):
        assert "This chat isn’t set up yet" in response.content.decode()
    assert not User.objects.exists()


@pytest.mark.django_db
def test_one_signs_up_with_a_name_and_a_password_and_is_signed_in(
    client, sign_up, signed_in
):
    assert sign_up("Ann").status_code == 302
    assert signed_in(client) == "Ann"
    assert (
        identify_hasher(User.objects.get(is_superuser=False).password).algorithm
        == "argon2"
    )


@pytest.mark.django_db
def test_one_comes_to_the_page_one_wanted(sign_up):
    response = sign_up("Ann", url=f"{URL}?next=/rooms/lobby/")
    assert response.headers["Location"] == "/rooms/lobby/"


@pytest.mark.django_db
def test_the_page_says_what_an_e_mail_address_is_for(client):
    assert "can’t reset a forgotten password" in client.get(URL).content.decode()


@pytest.mark.django_db
def test_who_gives_an_address_gets_a_link_to_confirm_it(client, sign_up, mailoutbox):
    sign_up("Ann", "Ann@Example.org")
    [mail] = mailoutbox
    assert mail.to == ["ann@example.org"]
    link = next(line for line in mail.body.splitlines() if "confirm-email" in line)
    assert "ann@example.org" in client.get(link).content.decode()
    assert client.post(link).status_code == 302
    assert User.objects.get(is_superuser=False).emailaddress_set.get().verified


@pytest.mark.parametrize("twin", ["ann", "ANN", "Ａｎｎ", "Ann "])
def test_a_name_is_taken_in_all_its_spellings(ann, sign_up, twin):
    assert errors_of(sign_up(twin)) == {"username": [NAME_TAKEN]}
    assert User.objects.get(is_superuser=False) == ann


@pytest.mark.django_db
def test_composed_and_decomposed_are_one_name(sign_up):
    sign_up("Zoe\u0308")
    assert User.objects.get(is_superuser=False).username == "Zo\u00eb"
    assert "username" in errors_of(sign_up("zo\u00eb", client=Client()))


@pytest.mark.django_db
def test_thirty_two_letters_are_counted_after_they_are_composed(sign_up):
    assert sign_up("e\u0301" * 32).status_code == 302
    assert "username" in errors_of(sign_up("a" * 33, client=Client()))


@pytest.mark.parametrize(
    "name", ["", "1ann", "an n", "an\0n", "an\u200bn", "ann\u3164", "a" * 1_000_000]
)
@pytest.mark.django_db
def test_a_bad_name_is_refused_with_one_sentence_at_it(sign_up, name):
    errors = errors_of(sign_up(name))
    assert list(errors) == ["username"]
    assert len(errors["username"]) == 1
    assert not User.objects.filter(is_superuser=False).exists()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"password": "short"}, "password1"),
        ({"password": "12345678901"}, "password1"),
        ({"password": "annemarie1", "name": "annemarie"}, "password1"),
        ({"again": "something else"}, "password2"),
        ({"email": "no address"}, "email"),
        ({"email": "a@b.c\0"}, "email"),
        ({"email": "a" * 300 + "@example.org"}, "email"),
        ({"email": "a@example.org\nBcc: b@example.org"}, "email"),
    ],
)
@pytest.mark.django_db
def test_bad_passwords_and_addresses_are_refused(sign_up, given, field):
    assert list(errors_of(sign_up(**{"name": "Ann"} | given))) == [field]
    assert not User.objects.filter(is_superuser=False).exists()


def test_an_address_that_is_known_is_not_given_away(ann, sign_up, mailoutbox):
    """It is taken up as any other; only who confirms it can have it."""
    known = sign_up("Mallory", ann.email)
    unknown = sign_up("Trudy", "new@example.org", client=Client())
    assert known.status_code == unknown.status_code == 302
    assert [mail.to for mail in mailoutbox] == [[ann.email], ["new@example.org"]]


def test_an_address_that_is_known_takes_the_same_work(ann, sign_up, work_of):
    known = work_of(lambda: sign_up("Mallory", ann.email))
    unknown = work_of(lambda: sign_up("Trudy", "new@example.org", client=Client()))
    assert known == unknown
    assert known.letters == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_a_name_at_once_one_gets_it_and_one_a_sentence(
    sign_up, monkeypatch
):
    both_have_looked = threading.Barrier(2)
    look = User.clean

    def look_and_wait(person):
        look(person)
        both_have_looked.wait(10)

    monkeypatch.setattr(User, "clean", look_and_wait)
    answers = []

    def race(name):
        answers.append(sign_up(name, client=Client()))
        connection.close()

    threads = [threading.Thread(target=race, args=[name]) for name in ("Ann", "ANN")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won, lost = sorted(answers, key=lambda answer: -answer.status_code)
    assert won.status_code == 302
    assert lost.status_code == 200
    assert str(NAME_TAKEN) in lost.content.decode()
    assert User.objects.exclude(is_superuser=True).count() == 1


@pytest.mark.django_db
def test_the_form_of_the_first_run_makes_a_person_or_says_why_not(password):
    def form(name):
        data = {"username": name, "password1": password, "password2": password}
        return PersonForm(data)

    first, second = form("Ann"), form("ann")
    assert first.is_valid() and second.is_valid()
    assert first.save().check_password(password)
    assert second.save() is None
    assert second.errors == {"username": [NAME_TAKEN]}


@pytest.mark.django_db
def test_a_mail_server_that_is_away_does_not_hinder(sign_up, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    assert sign_up("Ann", "ann@example.org").status_code == 302


@pytest.mark.django_db
def test_signing_up_is_limited_by_address(client, sign_up):
    answers = [sign_up("", client=client).status_code for _attempt in range(51)]
    assert set(answers[:50]) == {200}
    assert answers[50] == 429


def test_one_needs_the_token_of_the_page(db, password):
    stranger = Client(enforce_csrf_checks=True)
    data = {"username": "Ann", "password1": password, "password2": password}
    assert stranger.post(URL, data).status_code == 403
    assert not User.objects.filter(is_superuser=False).exists()
