import pytest
from django.core.cache import caches
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
    """A person with a password and an e-mail address."""
    from accounts.models import User

    return User.objects.create_user("Ann", "ann@example.org", PASSWORD)


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
