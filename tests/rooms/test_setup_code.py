"""The first-run page is for the operator, who has the set-up code."""

import json
import re
import subprocess
import sys
from io import StringIO

import httpx
import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from rooms.models import Installation, Room
from rooms.setup_code import setup_code
from tests.rooms.test_pages import WELCOME, text
from tests.support.servers import ROOT, free_port, own_environment


@pytest.fixture(autouse=True)
def no_guesses_yet():
    cache.clear()


@pytest.fixture
def public(settings):
    settings.ON_LOOPBACK = False


def set_up(code=None, client=None, **headers):
    fields = WELCOME if code is None else WELCOME | {"code": code}
    return (client or Client()).post("/welcome/", fields, **headers)


def printed():
    call_command("setup_code", stdout=(out := StringIO()))
    return out.getvalue().strip()


# In public -------------------------------------------------------------------------


def test_a_stranger_who_is_first_makes_no_admin(db, public):
    answer = set_up()
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["code"]
    assert not User.objects.exists()
    assert not Room.objects.exists()


def test_the_operator_sets_the_chat_up_with_the_printed_code(db, public, client):
    page = text(client.get("/welcome/"))
    assert re.findall('<input[^>]* name="([a-z]+)"[^>]* autofocus', page) == ["code"]
    assert printed() not in page
    answer = set_up(printed(), client)
    assert answer.headers["Location"] == "/rooms/lobby/"
    assert User.objects.get().is_superuser


@pytest.mark.parametrize("way", [str.lower, lambda c: f" {c.replace('-', ' ')} "])
def test_the_code_is_good_however_it_is_typed(way, db, public):
    assert set_up(way(printed())).status_code == 302


@pytest.mark.parametrize(
    "code",
    ["", " ", "-", "AAAA-AAAA-AAAA", "\0", "ключ", "A" * 10_000, "\ud7ff" * 12],
)
def test_what_is_not_the_code_makes_nothing(code, db, public):
    assert set_up(code).status_code == 422
    assert set_up(printed()[:-1]).status_code == 422
    assert set_up(printed() + "A").status_code == 422
    assert not User.objects.exists()


def test_guesses_are_limited_by_address(db, public):
    guesses = [set_up("AAAA-AAAA-AAAA").status_code for _guess in range(21)]
    assert guesses == [422] * 20 + [429]
    assert set_up(printed()).status_code == 429
    assert set_up(printed(), REMOTE_ADDR="203.0.113.9").status_code == 302


def test_once_there_is_an_admin_the_code_is_worthless(admin, public, client):
    assert set_up(setup_code()).headers["Location"] == "/"
    assert User.objects.get() == admin
    with pytest.raises(CommandError, match="This chat is set up"):
        printed()


def test_another_installation_and_another_key_have_another_code(db, settings):
    codes = {setup_code()}
    Installation.renew()
    codes.add(setup_code())
    settings.SECRET_KEY = "x" * 60
    codes.add(setup_code())
    assert len(codes) == 3


# On loopback -----------------------------------------------------------------------


def test_on_loopback_no_code_is_asked_for(db, client):
    assert "code" not in client.get("/welcome/").context["form"].fields
    assert set_up().status_code == 302


PUBLIC = {"PUBLIC_URL": "https://chat.example.org", "TRUST_PROXY": "true"}


@pytest.mark.parametrize(
    ("environment", "on_loopback"),
    [
        ({}, True),
        ({"HOST": "localhost"}, True),
        ({"HOST": "::1"}, True),
        ({"PUBLIC_URL": "http://localhost:8080"}, True),
        ({"HOST": "192.0.2.1"}, False),
        ({"HOST": "0.0.0.0", "PUBLIC_URL": "http://localhost:8000"}, False),
        ({"PUBLIC_URL": "http://192.168.1.2:8000"}, False),
        (PUBLIC, False),
    ],
)
def test_the_settings_tell_what_is_loopback(environment, on_loopback):
    code = (
        "import json; from config import settings; "
        "print(json.dumps(settings.ON_LOOPBACK))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=own_environment(**environment),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout) is on_loopback


# In processes ----------------------------------------------------------------------


def test_every_process_prints_the_same_code_and_takes_it(serve):
    """Two that share a database and a key, as behind Nginx."""
    url = f"http://chat.localhost:{free_port()}"
    one, other = (serve(PUBLIC_URL=url) for _nth in range(2))
    line = f"Set it up there with the set-up code {printed()}."
    assert line in one.log.splitlines()
    assert line in other.log.splitlines()
    host = {"Host": url.removeprefix("http://"), "Origin": url}
    with httpx.Client(base_url=other.url, headers=host) as browser:
        browser.get("/welcome/")
        token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        refused = browser.post("/welcome/", data=WELCOME | token)
        assert refused.status_code == 422
        done = browser.post("/welcome/", data=WELCOME | token | {"code": printed()})
        assert done.headers["Location"] == "/rooms/lobby/"
    again = serve(PUBLIC_URL=url)
    assert "set-up code" not in again.log
