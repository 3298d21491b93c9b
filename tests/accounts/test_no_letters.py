"""A site without a mail server sends nothing, says whom to ask, and has a way in."""

import io
import re
import time

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from accounts.security_record import Kind, SecurityRecord
from tests.support.threads import at_once

NEW = "a staple of horses"
ASK = "Ask an administrator for a sign-in link."


@pytest.fixture
def no_letters(settings, mailoutbox):
    """A site without a mail server; what was sent all the same."""
    settings.SENDS_LETTERS = False
    settings.ACCOUNT_EMAIL_VERIFICATION = "none"
    return mailoutbox


# No letters -----------------------------------------------------------------------


def test_the_page_for_a_new_password_says_whom_to_ask(ann, client, no_letters):
    url = "/accounts/password/reset/"
    page = client.get(url).content.decode()
    assert ASK in page and "<form" not in page.partition("<h1")[2]
    for address in (ann.email, "nobody@example.org"):
        answer = client.post(url, {"email": address})
        assert answer.status_code == 200 and ASK in answer.content.decode()
    assert no_letters == []


def test_the_page_for_the_address_says_why_it_takes_none(ann, sign_in, no_letters):
    browser = sign_in("ann").client
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    url = "/accounts/email/"
    assert "This chat doesn’t send e-mail" in browser.get(url).content.decode()
    browser.post(url, {"email": "new@example.org", "action_add": ""})
    assert not ann.emailaddress_set.filter(email="new@example.org").exists()
    assert no_letters == []


def test_one_signs_up_without_an_address(ann, client, password, no_letters):
    url = "/accounts/signup/"
    assert 'name="email"' not in client.get(url).content.decode()
    data = {"username": "new", "password1": password, "password2": password}
    client.post(url, data | {"email": "new@example.org"})
    assert User.objects.get(slug="new").email == ""
    assert no_letters == []


def test_no_change_of_a_password_sends_one(ann, sign_in, password, no_letters):
    data = {"oldpassword": password, "password1": NEW, "password2": NEW}
    sign_in("ann").client.post("/accounts/password/change/", data)
    assert sign_in("ann", NEW).status_code == 302
    assert no_letters == []


# The link -------------------------------------------------------------------------


@pytest.fixture
def link(ann):
    return make_link("ANN")


def make_link(name):
    out = io.StringIO()
    call_command("sign_in_link", name, stdout=out)
    return out.getvalue().strip()


def path_of(link):
    return re.fullmatch(r"https?://[^/]+(/accounts/sign-in-link/[\w:-]+/)", link)[1]


def choose(link, client=None, password=NEW):
    data = {"password1": password, "password2": password}
    return (client or Client()).post(path_of(link), data)


def is_gone(answer):
    return answer.status_code == 410 and "no longer valid" in answer.content.decode()


def test_a_link_signs_in_with_a_new_password_and_ends_other_sessions(
    ann, client, sign_in, signed_in
):
    elsewhere = sign_in("ann").client
    link = make_link("ann")
    page = client.get(path_of(link))
    assert "Ann" in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert choose(link, client).status_code == 302
    assert signed_in(client) == "Ann"
    assert signed_in(elsewhere) is None
    assert sign_in("ann", NEW).status_code == 302


def test_looking_at_it_uses_nothing_up(link, client):
    for _look in range(3):
        assert client.get(path_of(link)).status_code == 200
    assert choose(link, password="short").status_code == 200
    assert choose(link).status_code == 302


def test_it_is_good_once_and_says_so(link, client):
    assert choose(link).status_code == 302
    assert is_gone(client.get(path_of(link)))
    assert is_gone(choose(link, password="yet another one"))


def test_it_is_good_for_an_hour(link, client, monkeypatch):
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 3500)
    assert client.get(path_of(link)).status_code == 200
    monkeypatch.setattr("time.time", lambda: now + 3700)
    assert is_gone(client.get(path_of(link)))
    assert is_gone(choose(link))


@pytest.mark.parametrize("token", ["x", "a:b:c", "1" * 5000, "%00", "é"])
def test_an_invented_one_is_gone(ann, client, token):
    assert is_gone(client.get(f"/accounts/sign-in-link/{token}/"))


def test_one_for_somebody_who_signed_in_or_was_deactivated_is_gone(
    ann, link, sign_in, client
):
    sign_in("ann")
    assert is_gone(client.get(path_of(link)))
    link = make_link("ann")
    User.objects.update(is_active=False)
    assert is_gone(choose(link))


def test_it_needs_a_name_that_somebody_active_has(ann):
    with pytest.raises(CommandError, match="Nobody is called nobody"):
        make_link("nobody")
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="Ann is deactivated"):
        make_link("ann")


def test_making_and_using_it_is_recorded(ann, link):
    choose(link)
    rows = SecurityRecord.objects.filter(user=ann).order_by("pk")
    kinds = [Kind.LINK_MADE, Kind.LINK_USED, Kind.SIGN_IN]
    assert [row.kind for row in rows] == kinds


@pytest.mark.django_db(transaction=True)
def test_of_two_who_use_it_at_once_one_comes_in(ann, link):
    answers = []
    for thread in at_once(lambda _nth: answers.append(choose(link).status_code), 1, 2):
        thread.join()
    assert sorted(answers) == [302, 410]
