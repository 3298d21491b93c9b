"""The people and the rooms of the fault bench, made in the deployed system."""

from tests.lab.faults import database_job

PASSWORD = "correct horse battery staple"


def make(environment, rooms):
    """Make the rooms, given as {slug: [names]}; the first name of a room is its owner.

    Returns {"people": {name: {"id", "session"}}, "rooms": {slug: id}, "cookie",
    "csrf_cookie"}, the last two being the names of the cookies.
    """
    return database_job.ask(__name__, environment, rooms)


def _make(rooms):
    from django.conf import settings
    from django.contrib.auth.hashers import make_password

    from accounts.models import User
    from rooms.models import Membership, Room
    from tests.lab.bench.stage import sessions

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
        room = Room.objects.create_with_owner(slug, people[owner])
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
    database_job.answer(_make)
