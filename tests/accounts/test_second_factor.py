"""The second factor: an app's codes, recovery codes, a way back for the locked out."""

import json
import re
from io import StringIO

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.security_record import Kind, SecurityRecord
from tests.support.second_factors import FACTORS, codes_on, set_up_app, show_password

SIGN_IN = f"{FACTORS}authenticate/"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def here(ann, sign_in, password):
    """Ann's browser, in which she has just entered her password again."""
    client = sign_in("ann").client
    show_password(client, password)
    return client


@pytest.fixture
def protected(here):
    """Ann's app and recovery codes."""
    app, page = set_up_app(here)
    return app, codes_on(page)


def records(kind):
    return SecurityRecord.objects.filter(kind=kind)


# To set it up ---------------------------------------------------------------------


def test_to_set_one_up_takes_the_password_again(ann, sign_in, password):
    client = sign_in("ann").client
    page = f"{FACTORS}totp/activate/"
    asked = client.get(page)
    assert asked.headers["Location"].startswith("/accounts/reauthenticate/?next=")
    assert show_password(client, password, page).headers["Location"] == page
    assert client.get(page).status_code == 200


def test_the_key_is_a_picture_in_the_page_and_text(here):
    page = here.get(f"{FACTORS}totp/activate/").content.decode()
    assert re.search(r'<div class="qr"[^>]*><svg [^>]+><path d="M', page)
    assert "data:" not in page
    assert "<?xml" not in page
    assert re.search(r'class="key">[A-Z2-7]{32}<', page)


def test_the_app_is_set_up_and_ten_codes_are_shown(here, ann, mailoutbox):
    _app, page = set_up_app(here)
    assert len(set(codes_on(page))) == 10
    assert ann.has_second_factor
    assert "set up as the second factor" in mailoutbox[-1].body
    assert records(Kind.SECOND_FACTOR).filter(user=ann).count() == 2
    download = here.get(f"{FACTORS}recovery-codes/download/")
    assert download.content.decode().split() == codes_on(page)


def test_its_secrets_are_not_in_the_table(protected, settings):
    app, codes = protected
    stored = json.dumps(list(Authenticator.objects.values_list("data", flat=True)))
    assert app.secret not in stored
    assert not any(code in stored for code in codes)
    secret = Authenticator.objects.get(type="totp").data["secret"]
    assert secret.startswith("gAAAA")


@pytest.mark.parametrize("code", ["", "000000", "a\0b", "٣٣٣٣٣٣", "1" * 10_000])
def test_a_wrong_code_sets_nothing_up(code, here, ann):
    here.get(f"{FACTORS}totp/activate/")
    answer = here.post(f"{FACTORS}totp/activate/", {"code": code})
    assert answer.status_code == 200
    assert 'class="errors' in answer.content.decode()
    assert not ann.has_second_factor


# To sign in -----------------------------------------------------------------------


def test_the_password_alone_signs_nobody_in(protected, sign_in, signed_in):
    app, _codes = protected
    answer = sign_in("ann")
    assert answer.headers["Location"] == SIGN_IN
    assert signed_in(answer.client) is None
    assert answer.client.get("/rooms/").status_code == 302
    assert answer.client.post(SIGN_IN, {"code": app.code()}).status_code == 302
    assert signed_in(answer.client) == "Ann"


def test_one_comes_to_where_one_wanted_to_go(protected, sign_in):
    app, _codes = protected
    client = sign_in("ann", next="/rooms/new/").client
    answer = client.post(SIGN_IN, {"code": app.code()})
    assert answer.headers["Location"] == "/rooms/new/"


def test_a_code_is_good_once(protected, sign_in):
    app, _codes = protected
    code = app.code()
    assert sign_in("ann").client.post(SIGN_IN, {"code": code}).status_code == 302
    again = sign_in("ann").client.post(SIGN_IN, {"code": code})
    assert "incorrect or was already used" in again.content.decode()


def test_a_recovery_code_is_good_once(protected, sign_in, signed_in):
    _app, [code, *_others] = protected
    client = sign_in("ann").client
    assert client.post(SIGN_IN, {"code": code}).status_code == 302
    assert signed_in(client) == "Ann"
    assert sign_in("ann").client.post(SIGN_IN, {"code": code}).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"code": ""},
        {"code": "a\0b"},
        {"code": "1" * 100_000},
        {"credential": "x"},
        {"credential": "[" * 30_000},
        {"credential": "[]"},
        {"credential": '{"id": 1}'},
        {"credential": '{"id": "x", "rawId": "x", "response": {}, "type": "y"}'},
        {
            "credential": json.dumps(
                {
                    "id": "AAAA",
                    "rawId": "AAAA",
                    "type": "public-key",
                    "response": {
                        "clientDataJSON": "AAAA",
                        "authenticatorData": "AAAA",
                        "signature": "AAAA",
                    },
                }
            )
        },
    ],
)
def test_bad_input_is_refused(fields, protected, here, sign_in, signed_in):
    client = sign_in("ann").client
    client.get(SIGN_IN)
    assert client.post(SIGN_IN, fields).status_code == 200
    assert signed_in(client) is None
    page = f"{FACTORS}webauthn/add/"
    here.get(page)
    assert here.post(page, {"name": "x"} | fields).status_code == 200
    assert Authenticator.objects.filter(type="webauthn").count() == 0


def test_guesses_are_limited(protected, sign_in):
    app, _codes = protected
    client = sign_in("ann").client
    for _guess in range(10):
        client.post(SIGN_IN, {"code": "000000"})
    answer = client.post(SIGN_IN, {"code": app.code()})
    assert answer.status_code == 200
    assert records(Kind.SIGN_IN_FAILED).count() >= 10


def test_a_link_from_an_operator_replaces_the_password_alone(
    protected, ann, client, signed_in
):
    app, _codes = protected
    call_command("sign_in_link", "Ann", stdout=(out := StringIO()))
    link = re.search(r"/accounts/sign-in-link/\S+", out.getvalue())[0]
    passwords = {"password1": "a staple of horses", "password2": "a staple of horses"}
    assert client.post(link, passwords).headers["Location"] == SIGN_IN
    assert signed_in(client) is None
    client.post(SIGN_IN, {"code": app.code()})
    assert signed_in(client) == "Ann"


def test_nobody_comes_to_the_code_without_a_password(protected, client):
    for method in (client.get, client.post):
        assert method(SIGN_IN).headers["Location"] == "/accounts/login/"


def test_whoever_has_none_signs_in_as_before(ann, sign_in, signed_in):
    assert signed_in(sign_in("ann").client) == "Ann"


# To be asked again ----------------------------------------------------------------


def test_with_one_the_password_is_not_enough_to_be_known_again(
    protected, sign_in, password
):
    """Whoever finds a browser open may know the password."""
    app, _codes = protected
    client = sign_in("ann").client
    client.post(SIGN_IN, {"code": app.code()})
    asked = client.get(f"{FACTORS}totp/deactivate/")
    assert asked.headers["Location"].startswith(f"{FACTORS}reauthenticate/?next=")
    by_password = show_password(client, password, f"{FACTORS}totp/deactivate/")
    assert by_password.headers["Location"].startswith(f"{FACTORS}reauthenticate/")
    assert client.get(f"{FACTORS}totp/deactivate/").status_code == 302
    url = f"{FACTORS}reauthenticate/?next={FACTORS}totp/deactivate/"
    answer = client.post(url, {"code": app.code()})
    assert answer.headers["Location"] == f"{FACTORS}totp/deactivate/"
    client.post(f"{FACTORS}totp/deactivate/")
    assert not Authenticator.objects.exists()


def test_a_form_waits_until_one_is_known_again(ann, sign_in, password):
    """And the session keeps neither its own key nor a password meanwhile."""
    client = sign_in("ann").client
    asked = client.post("/accounts/email/", {"email": "n@x.org", "action_add": ""})
    assert asked.headers["Location"].startswith("/accounts/reauthenticate/")
    kept = json.dumps(client.session["account_reauthentication_state"])
    assert client.session.session_key not in kept
    page = show_password(client, password, "/accounts/email/")
    form = page.content.decode()
    assert '<form class="form" method="post" action="/accounts/email/">' in form
    assert '<input type="hidden" name="email" value="n@x.org">' in form
    client.post("/accounts/email/", {"email": "n@x.org", "action_add": ""})
    assert ann.emailaddress_set.filter(email="n@x.org").exists()


# The keys of the installation -----------------------------------------------------


def test_a_former_key_of_the_site_still_reads_it(protected, sign_in, settings):
    app, _codes = protected
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "n" * 60
    client = sign_in("ann").client
    assert client.post(SIGN_IN, {"code": app.code()}).status_code == 302


def test_without_the_former_key_it_fits_no_code(protected, sign_in, settings, caplog):
    app, [code, *_others] = protected
    settings.SECRET_KEY = "n" * 60
    client = sign_in("ann").client
    for fits_no_more in (app.code(), code):
        assert client.post(SIGN_IN, {"code": fits_no_more}).status_code == 200
    assert "SECRET_KEY_FALLBACKS" in caplog.text


# A way back -----------------------------------------------------------------------


def remove(*words):
    call_command("remove_second_factor", *words, stdout=(out := StringIO()))
    return out.getvalue()


def test_a_command_removes_it(protected, ann, here, sign_in, signed_in):
    assert remove("ANN").splitlines()[-1] == "Nothing was changed. `--yes` does it."
    assert ann.has_second_factor
    assert "signs in by the password alone" in remove("Ann", "--yes")
    assert not Authenticator.objects.exists()
    assert signed_in(here) is None
    assert signed_in(sign_in("ann").client) == "Ann"
    told = records(Kind.SECOND_FACTOR).order_by("-pk").first()
    assert told.detail == "recovery_codes removed; by a command"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nobody", "There is nobody named 'nobody'."),
        ("a\0b", "There is nobody named"),
        ("Ann", "Ann has no second factor."),
    ],
)
def test_the_command_tells_what_cannot_be(ann, name, sentence):
    with pytest.raises(CommandError, match=re.escape(sentence)):
        remove(name, "--yes")


def test_pages_of_nobody_are_closed(client):
    for page in ("", "totp/activate/", "webauthn/", "webauthn/add/", "recovery-codes/"):
        answer = Client().get(FACTORS + page)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/accounts/login/")
