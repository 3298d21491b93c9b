import re

import pytest
from django.test import Client

from accounts.models import User

PROFILE = "/accounts/"
EMAIL = "/accounts/email/"
LANGUAGE = "/accounts/language/"


@pytest.fixture
def browser(ann, sign_in):
    return sign_in("ann").client


def confirm_in(message):
    return re.search(r"http\S+/accounts/confirm-email/\S+", message.body)[0]


def test_the_profile_leads_to_all_one_can_change(browser):
    page = browser.get(PROFILE).content.decode()
    links = ("email/", "password/change/", "sessions/", "logout/", "language/")
    assert all(f"/accounts/{link}" in page for link in links)
    assert "ann@example.org" in page


def test_one_changes_ones_name(ann, browser, signed_in):
    assert browser.post(PROFILE, {"username": "Bea"}).status_code == 302
    assert signed_in(browser) == "Bea"
    assert User.objects.get_by_natural_key("bea") == ann


def test_one_can_write_ones_name_in_another_way(browser, signed_in):
    browser.post(PROFILE, {"username": "ANN"})
    assert signed_in(browser) == "ANN"


@pytest.mark.parametrize("name", ["BOB", "b\0", "", "1", "a" * 33, "Ann\u3164"])
def test_a_bad_or_taken_name_changes_nothing(browser, bob, signed_in, name):
    answer = browser.post(PROFILE, {"username": name})
    assert list(answer.context["form"].errors) == ["username"]
    assert signed_in(browser) == "Ann"


def test_a_name_taken_a_moment_ago_is_a_sentence_too(browser, bob, monkeypatch):
    monkeypatch.setattr(User, "clean", lambda person: None)
    answer = browser.post(PROFILE, {"username": "BOB"})
    assert list(answer.context["form"].errors) == ["username"]


def test_one_chooses_a_language(browser):
    answer = browser.post(LANGUAGE, {"language": "ru", "next": PROFILE})
    assert answer.headers["Location"] == PROFILE
    assert 'lang="ru"' in browser.get(PROFILE).content.decode()


@pytest.mark.parametrize("code", ["", "xx", "ru\0", "../..", "r" * 100_000])
def test_an_unknown_language_changes_nothing(browser, code):
    browser.post(LANGUAGE, {"language": code, "next": PROFILE})
    browser.cookies["django_language"] = code.replace("\0", "")
    assert browser.get(PROFILE).status_code == 200
    answer = browser.post(LANGUAGE, {"language": "ru", "next": "//evil.example"})
    assert "evil" not in answer.headers["Location"]


# The e-mail address ---------------------------------------------------------------


@pytest.fixture
def sure(browser, password):
    """The browser of one who has just entered the password again."""
    browser.post("/accounts/reauthenticate/", {"password": password})
    return browser


def test_changing_the_address_takes_the_password(browser, password, mailoutbox):
    data = {"email": "new@example.org", "action_add": ""}
    answer = browser.post(EMAIL, data)
    assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    assert mailoutbox == []
    wrong = browser.post(answer.headers["Location"], {"password": "wrong"})
    assert list(wrong.context["form"].errors) == ["password"]
    offer = browser.post(answer.headers["Location"], {"password": password})
    assert offer.context["path"] == EMAIL
    assert mailoutbox == []
    answer = browser.post(EMAIL, dict(offer.context["fields"]))
    assert answer.headers["Location"] == EMAIL
    assert mailoutbox[-1].to == ["new@example.org"]


def test_a_new_address_counts_when_it_is_confirmed(sure, ann, mailoutbox):
    sure.post(EMAIL, {"email": "New@Example.org", "action_add": ""})
    ann.refresh_from_db()
    assert ann.email != "new@example.org"
    assert "isn’t confirmed yet" in sure.get(EMAIL).content.decode()
    sure.post(confirm_in(mailoutbox[-1]))
    ann.refresh_from_db()
    assert ann.email == "new@example.org"
    assert "new@example.org</b>." in sure.get(EMAIL).content.decode()


def test_an_address_can_be_removed(sure, ann):
    sure.post(EMAIL, {"email": ann.email, "action_remove": ""})
    ann.refresh_from_db()
    assert ann.email == ""
    assert "No e-mail address yet" in sure.get(EMAIL).content.decode()


def test_the_link_can_be_sent_again_but_not_at_once(sure, ann, mailoutbox):
    for _twice in range(2):
        sure.post(EMAIL, {"email": ann.email, "action_send": ""})
    assert len(mailoutbox) == 1


def test_an_address_belongs_to_who_confirms_it_first(sure, ann, bob, mailoutbox):
    sure.post(EMAIL, {"email": "both@example.org", "action_add": ""})
    hers = confirm_in(mailoutbox[-1])
    bob.emailaddress_set.create(email="both@example.org", verified=True, primary=True)
    page = sure.get(hers).content.decode()
    assert "belongs to another account" in page
    sure.post(hers)
    ann.refresh_from_db()
    assert ann.email != "both@example.org"


@pytest.mark.parametrize("email", ["", "x", "a@b.c\0", "a" * 300 + "@example.org"])
def test_what_is_no_address_is_refused(sure, email):
    answer = sure.post(EMAIL, {"email": email, "action_add": ""})
    assert list(answer.context["form"].errors) == ["email"]


def test_one_cannot_touch_the_address_of_another(sure, bob):
    bob.emailaddress_set.create(email="bob@example.org", primary=True)
    sure.post(EMAIL, {"email": "bob@example.org", "action_remove": ""})
    assert bob.emailaddress_set.exists()


def test_a_confirmation_link_works_for_whoever_opens_it_but_needs_a_click(
    sure, ann, mailoutbox
):
    """Programs that look into mail for links must not confirm anything."""
    sure.post(EMAIL, {"email": "new@example.org", "action_add": ""})
    link = confirm_in(mailoutbox[-1])
    Client().get(link)
    assert not ann.emailaddress_set.get(email="new@example.org").verified
