import json
from types import SimpleNamespace

import httpx
import pytest

SETTLE = """
import json
from django.test import Client
from accounts.models import User
from rooms.models import Room
def sign_in(user):
    client = Client()
    client.force_login(user)
    return client.session.session_key
ann, bob = (User.objects.create_user(name, password="x") for name in ("ann", "bob"))
room = Room.objects.create_with_owner("lobby", ann)
room.admit(bob)
print(json.dumps({"ann": sign_in(ann), "bob": sign_in(bob)}))
"""


def settle(deployment):
    """Ann and Bob in the lobby: their session keys, by name."""
    return json.loads(deployment.manage("shell", "-v0", "-c", SETTLE))


@pytest.fixture(scope="session")
def keys(deployed):
    return settle(deployed)


@pytest.fixture(scope="session")
def lobby():
    """The part of a room that an address takes."""
    return SimpleNamespace(slug="lobby")


@pytest.fixture
def browser(deployed):
    """Not signed in."""
    with httpx.Client(base_url=deployed.url) as client:
        yield client


@pytest.fixture
def ann(deployed, keys):
    """Ann's browser."""
    cookies = {"sessionid": keys["ann"]}
    with httpx.Client(base_url=deployed.url, cookies=cookies) as client:
        yield client
