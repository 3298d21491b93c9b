from datetime import timedelta
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User

URL = "/accounts/login/"
WRONG = "The name or the password is incorrect."


@pytest.mark.parametrize(
    "login", ["Ann", "aNN", "Ａｎｎ", " Ann ", "ann@example.org", "ANN@Example.org"]
)
def test_one_signs_in_by_name_or_address_however_spelt(ann, sign_in, signed_in, login):
    assert signed_in(sign_in(login).client) == "Ann"


def test_an_address_that_is_not_verified_signs_nobody_in(ann, sign_in, signed_in):
    ann.emailaddress_set.update(verified=False)
    answer = sign_in("ann@example.org")
    assert answer.context["form"].errors == {"__all__": [WRONG]}
    assert signed_in(sign_in("ann").client) == "Ann"
    ann.emailaddress_set.all().delete()  # only in the column of the person
    assert sign_in("ann@example.org").status_code == 200


def test_an_address_that_another_claims_signs_in_its_owner(ann, sign_in, signed_in):
    mallory = User.objects.create_user("Mallory", ann.email, "correct horse battery")
    mallory.emailaddress_set.create(email=ann.email, verified=False, primary=True)
    assert signed_in(sign_in(ann.email).client) == "Ann"


@pytest.mark.parametrize(
    ("name", "login"),
    [("Zoë", "zoe\u0308"), ("Groß", "GROSS"), ("Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ")],
)
@pytest.mark.django_db
def test_a_name_signs_in_in_any_case_and_composition(
    sign_in, signed_in, password, name, login
):
    User.objects.create_user(name, password=password)
    assert signed_in(sign_in(login).client) == name


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("ann", "wrong"),
        ("ann@example.org", "wrong"),
        ("nobody", "wrong"),
        ("nobody@example.org", "wrong"),
        ("аnn", "correct horse battery"),  # its first letter is Cyrillic
        ("<b>", "wrong"),
        ("' OR 1=1 --", "wrong"),
        ("ann", "x" * 1_000_000),
    ],
)
def test_the_answer_to_a_wrong_one_is_always_the_same(ann, sign_in, login, password):
    answer = sign_in(login, password)
    assert answer.status_code == 200
    assert answer.context["form"].errors == {"__all__": [WRONG]}


@pytest.mark.parametrize(
    ("known", "unknown"),
    [("ann", "nobody"), ("ann@example.org", "no@example.org"), ("guest", "nobody")],
)
def test_a_wrong_one_takes_the_same_work_whoever_it_is(
    ann, sign_in, work_of, known, unknown
):
    User.objects.create_user("guest")  # who has no password
    for_known = work_of(lambda: sign_in(known, "wrong"))
    assert for_known == work_of(lambda: sign_in(unknown, "wrong"))
    assert for_known.hashes == 1


@pytest.mark.parametrize("login", ["", "an\0n", "a" * 1_000_000, "\u0301" * 100_000])
def test_what_cannot_be_a_login_is_said_at_it(ann, sign_in, login):
    assert list(sign_in(login).context["form"].errors) == ["login"]


def test_one_comes_to_the_page_one_wanted(ann, sign_in):
    assert sign_in("ann", next="/rooms/lobby/").headers["Location"] == "/rooms/lobby/"
    assert sign_in("ann").headers["Location"] == "/"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "///evil.example",
        "https://evil.example",
        "http:///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "http://testserver:81/",
        "http://testserver/",
        " //evil.example",
        "/\t/evil.example",
        "\0",
        "x" * 16_000 + "://evil.example",
    ],
)
def test_nobody_is_sent_to_another_site(ann, sign_in, elsewhere):
    answer = sign_in("ann", next=quote(elsewhere))
    assert answer.headers["Location"] == "/"
    again = answer.client.get(URL, {"next": elsewhere})
    assert again.headers["Location"] == "/"
    out = answer.client.post(f"/accounts/logout/?next={quote(elsewhere)}")
    assert out.headers["Location"] == URL


def test_the_inactive_cannot_sign_in(ann, sign_in, signed_in):
    ann.is_active = False
    ann.save()
    answer = sign_in("ann")
    assert signed_in(answer.client) is None
    assert (
        "deactivated" in answer.client.get(answer.headers["Location"]).content.decode()
    )
    assert sign_in("ann", "wrong").context["form"].errors == {"__all__": [WRONG]}


def test_who_guesses_a_password_is_told_when_to_try_again(ann, sign_in, signed_in):
    for _attempt in range(10):
        assert sign_in("ann", "wrong").status_code == 200
    stopped = sign_in("ann")
    assert stopped.status_code == 429
    assert "Try again in five minutes." in stopped.content.decode()
    assert signed_in(stopped.client) is None
    assert sign_in("bob", "wrong").status_code == 200


def test_another_spelling_or_port_is_not_another_name_to_guess_at(ann, sign_in):
    spellings = ["ann", "ANN", "Ａｎｎ", " ann", "aNn"] * 2
    for port, login in enumerate(spellings, start=1000):
        sign_in(login, "wrong", HTTP_HOST=f"testserver:{port}")
    assert sign_in("ann").status_code == 429


def test_five_minutes_later_one_can_sign_in_again(ann, sign_in, monkeypatch):
    for _attempt in range(11):
        answer = sign_in("ann", "wrong")
    assert answer.status_code == 429
    later = (timezone.now() + timedelta(minutes=5, seconds=1)).timestamp()
    monkeypatch.setattr("time.time", lambda: later)
    assert sign_in("ann").status_code == 302


def test_guessing_at_many_names_is_limited_too(db, sign_in):
    answers = [sign_in(f"n{i}", "wrong").status_code for i in range(31)]
    assert set(answers[:30]) == {200}
    assert answers[30] == 429


def test_a_shared_address_can_be_signed_in_from_often(ann, sign_in):
    assert {sign_in("ann").status_code for _person in range(40)} == {302}


def test_signing_out_takes_a_post(ann, sign_in, signed_in):
    browser = sign_in("ann").client
    assert browser.get("/accounts/logout/").status_code == 200
    assert signed_in(browser) == "Ann"
    browser.post("/accounts/logout/")
    assert signed_in(browser) is None


def test_a_stolen_cookie_is_worth_nothing_after_signing_out(ann, sign_in, signed_in):
    browser, thief = sign_in("ann").client, Client()
    thief.cookies["sessionid"] = browser.cookies["sessionid"].value
    assert signed_in(thief) == "Ann"
    browser.post("/accounts/logout/")
    assert signed_in(thief) is None


def test_signing_in_takes_the_token_of_the_page(ann, password):
    stranger = Client(enforce_csrf_checks=True)
    data = {"login": "ann", "password": password}
    assert stranger.post(URL, data).status_code == 403
    token = stranger.get(URL).cookies["csrftoken"].value
    foreign = {"HTTP_ORIGIN": "https://evil.example"}
    data["csrfmiddlewaretoken"] = token
    assert stranger.post(URL, data, **foreign).status_code == 403
    assert stranger.post(URL, data).status_code == 302
