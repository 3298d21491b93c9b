"""The settings keep what `.env.example` and the security checks promise."""

import json
import re
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import call_command

from config.environment_readers import origin_of
from tests.support.servers import ROOT, VARIABLES, own_environment

PRODUCTION = {
    "DATABASE_URL": "postgres://rollcall@/rollcall?host=/run/postgresql",
    "SECRET_KEY": "0f8fad5b-d9cb-469f-a165-70867728950e/7c9e6679-7425-40de",
    "PUBLIC_URL": "https://Chat.example.org:443/",
    "TRUST_PROXY": "true",
    "REDIS_URL": "redis://localhost",
    "EMAIL_URL": "smtp+tls://me:hush@mail.example.org:587",
}


def test_every_variable_is_documented_and_no_other():
    source = (ROOT / "config" / "settings.py").read_text()
    read = re.findall(r'\benv\.\w+\(\s*"([A-Z_]+)"', source)
    assert sorted(set(read)) == sorted(VARIABLES)


def test_only_the_settings_read_the_environment():
    reads = re.compile(r"os\.environ|getenv")
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("accounts", "config", "messaging", "rooms")
        for path in (ROOT / folder).rglob("*.py")
        if reads.search(path.read_text())
    }
    # systemd has its own variables, which nobody sets by hand; the pool hands workers
    # what a Python process needs, and no more.
    assert readers == {
        "config/settings.py",
        "config/asgi.py",
        "config/server/systemd.py",
        "messaging/rendering/pool.py",
    }


def in_production(*words):
    return manage(*words, **PRODUCTION)


def manage(*words, **environment):
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=own_environment(**environment),
        capture_output=True,
        text=True,
    )


def test_a_deployment_has_nothing_to_warn_of():
    done = in_production("check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_an_address_decides_about_hosts_origins_and_cookies():
    names = (
        "ALLOWED_HOSTS",
        "ORIGINS",
        "SESSION_COOKIE_NAME",
        "SESSION_COOKIE_SECURE",
        "SESSION_COOKIE_HTTPONLY",
        "SESSION_COOKIE_SAMESITE",
        "CSRF_COOKIE_NAME",
        "SECURE_HSTS_SECONDS",
        "EMAIL_HOST_PASSWORD",
    )
    code = (
        "import json; from django.conf import settings; "
        f"print(json.dumps([getattr(settings, name) for name in {names}]))"
    )
    assert json.loads(in_production("shell", "-v0", "-c", code).stdout) == [
        ["chat.example.org"],
        ["https://chat.example.org"],
        "__Host-sessionid",
        True,
        True,
        "Lax",
        "__Host-csrftoken",
        31536000,
        "hush",
    ]


LETTERS = {
    # A laptop: they are printed.
    ("", "", ""): (True, "console"),
    ("http://localhost:8000", "", ""): (True, "console"),
    # A site without a mail server: there are none.
    ("http://chat.example.org", "", ""): (False, "dummy"),
    ("", "192.0.2.7", ""): (False, "dummy"),
    # With one.
    ("http://chat.example.org", "", "smtp://mail"): (True, "smtp"),
}


@pytest.mark.parametrize(("where", "expected"), LETTERS.items())
def test_links_of_letters_are_printed_on_ones_own_machine_only(where, expected):
    url, host, mail = where
    code = (
        "from django.conf import settings;"
        "print(settings.SENDS_LETTERS, settings.EMAIL_BACKEND.split('.')[-2])"
    )
    done = manage("shell", "-v0", "-c", code, PUBLIC_URL=url, HOST=host, EMAIL_URL=mail)
    assert done.stdout.split() == [str(expected[0]), expected[1]], done.stderr


ORIGINS = {
    "http://localhost:8000": "http://localhost:8000",
    "HTTPS://Chat.Example.org/": "https://chat.example.org",
    "https://chat.example.org:443": "https://chat.example.org",
    "http://chat.example.org:443": "http://chat.example.org:443",
    "http://[::1]:8000": "http://[::1]:8000",
    "https://bücher.example": "https://xn--bcher-kva.example",
}


@pytest.mark.parametrize(("typed", "origin"), ORIGINS.items())
def test_an_origin_is_what_browsers_make_of_it(typed, origin):
    assert origin_of(typed) == origin


@pytest.mark.parametrize(
    "typed",
    ["", "//host", "https://", "https://me@host", "https://host?x", "ws://host"],
)
def test_what_is_no_origin_is_refused(typed):
    with pytest.raises(ValueError):
        origin_of(typed)


def test_no_migration_is_missing(db):
    call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


@pytest.mark.parametrize(
    ("name", "text", "highest"),
    [
        ("ROOMS_PER_DAY", "0", 65_535),
        ("ROOMS_PER_DAY", "many", 65_535),
        ("KICK_SECONDS", "-5", 86_400),
        ("KICK_SECONDS", "86401", 86_400),
    ],
)
def test_a_number_out_of_bounds_stops_the_start_with_a_sentence(name, text, highest):
    done = manage("check", **{name: text})
    assert done.returncode
    sentence = f"{name} is {text!r}; it must be a number from 1 to {highest}."
    assert sentence in done.stderr
