"""Who guesses passwords is locked out, and locks nobody else out."""

import pytest
from django.test import Client

from accounts.models import User
from accounts.security_record import Kind, SecurityRecord

HERE, ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}, {"REMOTE_ADDR": "198.51.100.9"}
COOKIE = "browser"


@pytest.fixture
def guess(sign_in):
    """guess(name, times, **headers): the status of the last wrong attempt."""

    def guess(name, times, client=None, **headers):
        for _attempt in range(times):
            answer = sign_in(name, "wrong", client, **headers)
        return answer.status_code

    return guess


@pytest.fixture
def known_browser(ann, sign_in):
    """One in which Ann has signed in, and out again."""
    browser = sign_in("ann", **HERE).client
    browser.post("/accounts/logout/")
    return browser


def test_a_stranger_elsewhere_locks_nobody_out(ann, sign_in, guess):
    assert guess("ann", 11, **ELSEWHERE) == 429
    assert sign_in("ann", **ELSEWHERE).status_code == 429
    assert sign_in("ann", **HERE).status_code == 302


@pytest.mark.parametrize("name", ["ann", "ann@example.org"])
def test_a_neighbour_locks_nobody_out_of_their_own_browser(
    ann, sign_in, guess, known_browser, name
):
    assert guess(name, 11, **HERE) == 429
    for other in range(30):  # until the address itself is locked
        guess(f"n{other}", 1, **HERE)
    assert sign_in("bob", "wrong", **HERE).status_code == 429
    assert sign_in(name, **HERE).status_code == 429
    assert sign_in(name, client=known_browser, **HERE).status_code == 302


def test_a_flood_of_sign_ins_locks_nobody_out_of_their_own_browser(
    ann, sign_in, known_browser, settings
):
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"sign_in": "2/5m/ip"}
    answers = [sign_in("ann", **HERE).status_code for _browser in range(3)]
    assert answers[2] == 429
    assert sign_in("ann", client=known_browser, **HERE).status_code == 302


def test_a_known_browser_is_no_place_to_guess_either(sign_in, guess, known_browser):
    assert guess("ann", 10, known_browser, **HERE) == 200
    assert guess("ann", 1, known_browser, **ELSEWHERE) == 429
    assert sign_in("ann", client=known_browser, **HERE).status_code == 429
    assert sign_in("ann", **HERE).status_code == 302  # but that is all it locked


def test_a_browser_is_known_for_its_own_people_only(
    ann, sign_in, guess, known_browser, password
):
    User.objects.create_user("Bob", password=password)
    guess("bob", 11, **HERE)
    assert sign_in("bob", client=known_browser, **HERE).status_code == 429
    assert sign_in("bob", client=known_browser, **ELSEWHERE).status_code == 302
    known_browser.post("/accounts/logout/")
    for name in ("bob", "ann"):  # now it is for both
        assert sign_in(name, client=known_browser, **HERE).status_code == 302
        known_browser.post("/accounts/logout/")


@pytest.mark.parametrize(
    "forge",
    [
        lambda cookie: cookie[:-1] + ("a" if cookie[-1] != "a" else "b"),
        lambda cookie: "x" + cookie,
        lambda cookie: "",
        lambda cookie: "é" * 5000,
    ],
)
def test_a_forged_cookie_makes_no_browser_known(
    ann, sign_in, guess, known_browser, forge
):
    guess("ann", 11, **HERE)
    stranger = Client()
    stranger.cookies[COOKIE] = forge(known_browser.cookies[COOKIE].value)
    assert sign_in("ann", client=stranger, **HERE).status_code == 429


def test_the_cookie_is_the_servers_and_signs_nobody_in(known_browser, signed_in):
    cookie = known_browser.cookies[COOKIE]
    assert cookie["httponly"] and cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 365 * 24 * 3600
    assert signed_in(known_browser) is None


def test_a_home_of_ipv6_is_one_network(ann, sign_in, guess):
    for nth in range(11):
        guess("ann", 1, REMOTE_ADDR=f"2001:db8:1:1::{nth}")
    assert sign_in("ann", REMOTE_ADDR="2001:db8:1:1:ffff::1").status_code == 429
    assert sign_in("ann", REMOTE_ADDR="2001:db8:1:2::1").status_code == 302


def test_a_lock_out_is_recorded_once(ann, guess):
    guess("ann", 20, **HERE)
    guess("hunter2", 11, **ELSEWHERE)
    lock_outs = SecurityRecord.objects.filter(kind=Kind.LOCK_OUT).order_by("pk")
    told = [(row.name, row.address) for row in lock_outs]
    assert told == [("Ann", HERE["REMOTE_ADDR"]), ("", ELSEWHERE["REMOTE_ADDR"])]


def test_the_password_asked_for_again_is_counted_with_the_others(
    ann, sign_in, guess, known_browser
):
    sign_in("ann", client=known_browser, **HERE)
    again = "/accounts/reauthenticate/"
    for _attempt in range(5):
        known_browser.post(again, {"password": "wrong"}, **HERE)
    known_browser.post("/accounts/logout/")
    assert guess("ann", 5, known_browser, **HERE) == 200
    assert guess("ann", 1, known_browser, **HERE) == 429
