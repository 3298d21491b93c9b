"""People, and a room they meet in."""

import time

import pytest
from django.test import Client

from accounts.models import User
from rooms.models import Node, Room
from rooms.rights import Role


def make_person(name, **fields):
    return User.objects.create_user(name, **fields)


@pytest.fixture
def alice(db):
    """Owner of the room."""
    return make_person("alice")


@pytest.fixture
def bob(db):
    """A member of the room."""
    return make_person("bob")


@pytest.fixture
def carol(db):
    """A moderator of the room."""
    return make_person("carol")


@pytest.fixture
def stranger(db):
    """No member of the room."""
    return make_person("stranger")


@pytest.fixture
def admin(db):
    return make_person("root", is_staff=True, is_superuser=True)


@pytest.fixture
def room(alice, bob, carol):
    """The lobby: alice owns it, carol moderates, bob is a member. Its head is #4."""
    room = Room.objects.create_with_owner("lobby", alice, topic="Anything")
    room.admit(bob)
    room.admit(carol)
    room.give_role(carol, Role.MODERATOR, by=alice)
    return room


@pytest.fixture
def node(db):
    """A running server process."""
    return Node.objects.create(name="test")


def have_just_signed_in(client, user, ago=0, method="password"):
    """What allauth keeps of a sign-in, so many seconds ago."""
    session = client.session
    records = [{"method": method, "at": time.time() - ago}]
    session["account_authentication_methods"] = records
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()


@pytest.fixture
def browse():
    """browse(user): a test client signed in as `user`; without one, signed out."""

    def browse(user=None, **kwargs):
        client = Client(**kwargs)
        if user is not None:
            client.force_login(user)
            have_just_signed_in(client, user)
        return client

    return browse
