"""The people and the rooms of the fault bench, made in the deployed system's database.

Run as a process of its own, with that system's environment: what it should make is read
from stdin, what it made is printed, both as JSON.
"""

import json
import os
import subprocess
import sys

from tests.servers import ROOT

PASSWORD = "correct horse battery staple"


def make(environment, rooms):
    """Make the rooms, given as {slug: [names]}; the first name of a room is its owner.

    Returns {"people": {name: {"id", "session"}}, "rooms": {slug: id}, "cookie",
    "csrf_cookie"}, the last two being the names of the cookies.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.cast"],
        cwd=ROOT,
        env=environment,
        input=json.dumps(rooms),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"the cast was not made:\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    print(json.dumps(_make(json.load(sys.stdin))))


def _make(rooms):
    from django.conf import settings
    from django.contrib.auth.hashers import make_password

    from accounts.models import User
    from rooms.models import Membership, Room
    from tests.bench.stage import sessions

    names = sorted({name for members in rooms.values() for name in members})
    hashed = make_password(PASSWORD)  # one for all: it is slow by design
    people = {
        user.username: user
        for user in User.objects.bulk_create(
            User(username=name, password=hashed) for name in names
        )
    }
    ids = {}
    for slug, (owner, *members) in rooms.items():
        room = Room.objects.found(slug, people[owner])
        ids[slug] = room.pk
        Membership.objects.bulk_create(
            Membership(room=room, user=people[name], joined_seq=1) for name in members
        )
    keys = sessions([people[name] for name in names])
    return {
        "people": {
            name: {"id": people[name].pk, "session": key}
            for name, key in zip(names, keys, strict=True)
        },
        "rooms": ids,
        "cookie": settings.SESSION_COOKIE_NAME,
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
    }


if __name__ == "__main__":
    main()
