import re
from dataclasses import dataclass, field

import pytest
from django.contrib.auth import hashers
from django.core.cache import caches
from django.db import connection
from django.test import Client

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def empty_caches():
    """Limits on attempts are counted there; no test inherits those of another."""
    for cache in caches.all(initialized_only=True):
        cache.clear()


@pytest.fixture
def password():
    return PASSWORD


@pytest.fixture
def ann(db):
    """A person with a password and a verified e-mail address."""
    from allauth.account.models import EmailAddress

    from accounts.models import User

    ann = User.objects.create_user("Ann", "ann@example.org", PASSWORD)
    EmailAddress.objects.create(user=ann, email=ann.email, verified=True, primary=True)
    return ann


@pytest.fixture
def sign_in():
    """sign_in(name): the answer to the sign-in form; `answer.client` is the browser."""

    def sign_in(login, password=PASSWORD, client=None, next="", **headers):
        client = client or Client()
        query = f"?next={next}" if next else ""
        data = {"login": login, "password": password}
        response = client.post(f"/accounts/login/{query}", data, **headers)
        response.client = client
        return response

    return sign_in


@pytest.fixture
def signed_in():
    """signed_in(client): the name that the server knows it by, or None."""

    def signed_in(client):
        return client.get("/accounts/session/").json()["name"]

    return signed_in


@dataclass
class Work:
    """What a request made the server do: what decides how long it takes."""

    hashes: int = 0
    letters: int = 0
    statements: list = field(default_factory=list)


@pytest.fixture
def work_of(monkeypatch, mailoutbox):
    """work_of(do): the Work of what `do()` asks for. Times on a busy machine tell
    nothing; password hashes, letters and statements without their values do."""

    def work_of(do):
        work = Work()
        mailoutbox.clear()

        def watch(execute, sql, params, many, context):
            work.statements.append(re.sub(r"(%s, )+%s|s\d+_x\d+", "…", sql))
            return execute(sql, params, many, context)

        with monkeypatch.context() as patch, connection.execute_wrapper(watch):
            count_hashes(patch, work)
            do()
        work.letters = len(mailoutbox)
        return work

    return work_of


def count_hashes(patch, work):
    hasher = type(hashers.get_hasher())
    for name in ("verify", "encode"):
        patch.setattr(hasher, name, counting(getattr(hasher, name), work))


def counting(method, work):
    def counted(*args, **kwargs):
        work.hashes += 1
        return method(*args, **kwargs)

    return counted
