"""What browsers are told with each page."""

import pytest
from django.test import override_settings

from config.headers import HEADERS, UNUSED_FEATURES

PAGES = [
    *("/", "/rooms/", "/rooms/lobby/", "/rooms/lobby/log/", "/rooms/new/", "/nowhere/"),
    *("/accounts/", "/accounts/sessions/", "/accounts/session/", "/accounts/email/"),
    *("/admin/", "/admin/rooms/room/", "/admin/jsi18n/", "/admin/nowhere/"),
]
FOR_STRANGERS = ["/", "/accounts/login/", "/accounts/signup/", "/rooms/", "/nowhere/"]


def assert_told(answer):
    assert "no-store" in answer["Cache-Control"]
    assert "public" not in answer["Cache-Control"]
    assert {name: answer[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_kept_nowhere_and_uses_no_device(path, room, admin, browse):
    room.admit(admin)
    assert_told(browse(admin).get(path))


@pytest.mark.parametrize("path", FOR_STRANGERS)
def test_nor_is_one_for_strangers(path, room, browse):
    assert_told(browse().get(path))


def test_unused_features_are_refused_and_passkeys_are_not():
    assert "camera" in UNUSED_FEATURES
    assert "camera=()" in HEADERS["Permissions-Policy"].split(", ")
    assert "publickey" not in HEADERS["Permissions-Policy"]


TYPES = {"require-trusted-types-for 'script'", "trusted-types rollcall"}


def policy_of(answer):
    return set(answer["Content-Security-Policy"].split("; "))


def test_text_becomes_html_by_our_policy_alone_but_in_the_admin(room, admin, browse):
    client = browse(admin)
    for path in ("/rooms/", "/nowhere/", "/accounts/", "/administer/"):
        assert policy_of(client.get(path)) >= TYPES
    for path in ("/admin/", "/admin/rooms/room/"):
        policy = policy_of(client.get(path))
        assert "script-src 'self'" in policy
        assert not policy & TYPES


@pytest.mark.parametrize("secure", [True, False])
def test_the_cookie_of_the_last_room_is_as_strict_as_that_of_the_session(
    secure, room, alice, browse
):
    with override_settings(SESSION_COOKIE_SECURE=secure):
        cookie = browse(alice).get("/rooms/lobby/").cookies["last_room"]
    assert bool(cookie["secure"]) == secure
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
