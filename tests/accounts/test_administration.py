"""Before the admin's pages: a second factor, and a fresh sign-in."""

import json
import subprocess
import sys

import pytest

from accounts.models import User
from tests.support.fixtures import have_just_signed_in, make_person
from tests.support.second_factors import FACTORS, set_up_app, show_password
from tests.support.servers import ROOT, own_environment

PEOPLE = "/admin/accounts/user/"
LONG = 16 * 60  # seconds
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def boss(db, password):
    """A superuser with a password."""
    return make_person("boss", password=password, is_staff=True, is_superuser=True)


@pytest.fixture
def desk(boss, sign_in):
    return sign_in("boss").client


@pytest.fixture
def strict(settings):
    settings.ADMIN_SECOND_FACTOR = True


def time_passes(client, user, method="password"):
    have_just_signed_in(client, user, ago=LONG, method=method)


# A second factor ------------------------------------------------------------------


def test_whoever_has_none_sets_one_up_and_comes_back(strict, desk, password):
    answer = desk.get(PEOPLE, follow=True)
    assert answer.redirect_chain == [(FACTORS, 302)]
    page = answer.content.decode()
    assert "Administration requires a second factor." in page
    assert "Continue to administration" not in page
    show_password(desk, password)
    _app, page = set_up_app(desk)
    assert f'<a class="button primary" href="{PEOPLE}">Continue' in page
    assert desk.get(PEOPLE).status_code == 200
    assert "Go on" not in desk.get(FACTORS).content.decode()


def test_the_chat_takes_none(strict, desk):
    assert desk.get("/rooms/").status_code == 200
    assert desk.get("/accounts/").status_code == 200


def test_with_one_the_admin_opens_after_signing_in(strict, desk, password, sign_in):
    show_password(desk, password)
    app, _page = set_up_app(desk)
    other = sign_in("boss", next=PEOPLE).client
    answer = other.post(f"{FACTORS}authenticate/", {"code": app.code()})
    assert answer.headers["Location"] == PEOPLE
    assert other.get(PEOPLE).status_code == 200


def test_a_browser_signed_in_before_it_was_set_up_is_asked(
    strict, desk, password, sign_in
):
    former = sign_in("boss").client
    show_password(desk, password)
    app, _page = set_up_app(desk)
    again = former.get("/admin/").headers["Location"]
    assert again == f"{FACTORS}reauthenticate/?next=%2Fadmin%2F"
    former.post(again, {"code": app.code()})
    assert former.get("/admin/").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["", "login/", "accounts/user/", "accounts/user/add/", "autocomplete/", "nowhere/"],
)
def test_no_page_of_the_admin_is_left_out(strict, path, desk):
    location = desk.get(f"/admin/{path}").headers["Location"]
    assert location in (FACTORS, "/admin/")


def test_posting_is_no_way_around_it(strict, desk, password):
    data = {"username": "new", "password1": password, "password2": password}
    assert desk.post(f"{PEOPLE}add/", data).headers["Location"] == FACTORS
    assert not User.objects.filter(slug="new").exists()


def test_the_admin_can_be_left(strict, desk, signed_in):
    desk.post("/admin/logout/")
    assert signed_in(desk) is None


def test_it_may_be_switched_off(desk, settings):
    settings.ADMIN_SECOND_FACTOR = False
    assert desk.get(PEOPLE).status_code == 200


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, [False, 900]),
        ({"PUBLIC_URL": "http://chat.example.org"}, [True, 900]),
        (
            {"PUBLIC_URL": "http://a.example", "ADMIN_SECOND_FACTOR": "false"},
            [False, 900],
        ),
        ({"ADMIN_SECOND_FACTOR": "true", "ADMIN_SIGN_IN_WITHIN": "5"}, [True, 300]),
        ({"ADMIN_SECOND_FACTOR": "yes"}, "ADMIN_SECOND_FACTOR is 'yes'"),
        ({"ADMIN_SIGN_IN_WITHIN": "0"}, "must be a number from 1 to 1440"),
        ({"ADMIN_SIGN_IN_WITHIN": "2000"}, "must be a number from 1 to 1440"),
    ],
)
def test_the_settings_are_read_from_the_environment(environment, told):
    code = (
        "import json; from config import settings as s; "
        "print(json.dumps([s.ADMIN_SECOND_FACTOR, s.ADMIN_SIGN_IN_WITHIN]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=own_environment(**environment),
        capture_output=True,
        text=True,
    )
    if isinstance(told, str):
        assert told in done.stderr
    else:
        assert json.loads(done.stdout) == told


# A fresh sign-in ------------------------------------------------------------------


def test_after_a_quarter_of_an_hour_one_is_asked_again(boss, desk, password):
    assert desk.get(PEOPLE).status_code == 200
    time_passes(desk, boss)
    asked = desk.get(f"{PEOPLE}?q=x")
    assert asked.status_code == 302
    again = asked.headers["Location"]
    assert again.startswith("/accounts/reauthenticate/?next=%2Fadmin%2F")
    assert desk.get("/rooms/").status_code == 200
    assert desk.post(again, {"password": "wrong"}).status_code == 200
    assert desk.get(PEOPLE).status_code == 302
    answer = desk.post(again, {"password": password})
    assert answer.headers["Location"] == f"{PEOPLE}?q=x"
    assert desk.get(PEOPLE).status_code == 200


def test_with_a_second_factor_it_is_asked_for(boss, desk, password):
    show_password(desk, password)
    app, _page = set_up_app(desk)
    assert desk.get(PEOPLE).status_code == 200
    time_passes(desk, boss, method="mfa")
    again = desk.get(PEOPLE).headers["Location"]
    assert again.startswith(f"{FACTORS}reauthenticate/")
    desk.post(again, {"code": app.code()})
    assert desk.get(PEOPLE).status_code == 200


def test_a_form_is_not_lost_meanwhile(boss, bob, desk, password):
    time_passes(desk, boss)
    url = f"{PEOPLE}{bob.pk}/change/"
    fields = {"username": "bobby", "is_active": "on", "groups": [], "x": ["1", "2"]}
    again = desk.post(url, fields).headers["Location"]
    bob.refresh_from_db()
    assert bob.username == "bob"
    page = desk.post(again, {"password": password}).content.decode()
    assert f'action="{url}"' in page
    for name, value in (("username", "bobby"), ("x", "1"), ("x", "2")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in page
    assert page.count("csrfmiddlewaretoken") == 1
    assert desk.post(url, fields).status_code == 302
    bob.refresh_from_db()
    assert bob.username == "bobby"


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "new", "password1": "a staple", "password2": "a staple"},
        {"username": "n" * 100_000},
    ],
)
def test_a_form_that_is_not_kept_is_told(fields, boss, desk, password):
    """A password is kept nowhere in the clear."""
    time_passes(desk, boss)
    again = desk.post(f"{PEOPLE}add/", fields).headers["Location"]
    assert "account_reauthentication_state" not in desk.session
    answer = desk.post(again, {"password": password}, follow=True)
    assert answer.redirect_chain[-1][0] == f"{PEOPLE}add/"
    assert "Your changes weren’t saved." in answer.content.decode()


def test_what_is_kept_is_for_its_own_page(boss, bob, desk, password):
    """A later question about another page does not bring it back."""
    time_passes(desk, boss)
    desk.post(f"{PEOPLE}{bob.pk}/change/", {"username": "bobby"})
    again = desk.get(PEOPLE).headers["Location"]
    assert desk.post(again, {"password": password}).headers["Location"] == PEOPLE


def test_without_staff_rights_nobody_is_asked(ann, sign_in):
    client = sign_in("ann").client
    time_passes(client, ann)
    assert client.get("/admin/login/").status_code == 403
    assert client.get(PEOPLE).headers["Location"].startswith("/admin/login/")


def test_the_first_admin_need_not_sign_in_again(db, client, password):
    passwords = {"password1": password, "password2": password}
    form = {"username": "maya", "email": "", "room": "lobby", **passwords}
    client.post("/welcome/", form)
    assert client.get("/admin/").status_code == 200


def test_whoever_has_no_password_sets_one_first(db, browse):
    boss = make_person("boss", is_staff=True, is_superuser=True)
    client = browse(boss)
    assert client.get("/admin/").status_code == 200
    time_passes(client, boss)
    asked = client.get("/admin/").headers["Location"]
    assert asked.startswith("/accounts/password/set/")
